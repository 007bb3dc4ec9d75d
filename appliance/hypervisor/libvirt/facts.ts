/** What the host says of itself, and its pools. */
import { VIR_ERR } from '../../../native/libvirt/error.ts';
import { RehostError } from '../../api/errors.ts';
import type { Acceleration, Firmware, HypervisorFacts, PoolFacts } from '../driver.ts';
import type { LibvirtSession } from './session.ts';
import { attributeOf, children, find, parse, textOf } from './xml.ts';

/** The one machine type that Rehost's VMs have. */
export const MACHINE = 'q35';
/** virStoragePoolState. */
const POOL_RUNNING = 2;
const DOMAIN_TYPE: Record<Acceleration, string> = { kvm: 'kvm', tcg: 'qemu' };

/** libvirt's `<domain type>` for an acceleration. */
export function domainType(acceleration: Acceleration): string {
  return DOMAIN_TYPE[acceleration];
}

export async function probeHost(session: LibvirtSession): Promise<HypervisorFacts> {
  const what = 'The hypervisor could not be probed';
  const type = await session.ask(what, 'type');
  const hostname = await session.ask(what, 'hostname');
  const version = await session.ask(what, 'libVersion');
  const host = parse(await session.ask(what, 'capabilities'));
  const arch = textOf(host, 'host', 'cpu', 'arch');
  if (arch === undefined) throw new RehostError('HYPERVISOR_REFUSED', `${what}: it does not say its architecture.`);
  const guest = children(host, 'guest').find(
    (one) => textOf(one, 'os_type') === 'hvm' && attributeOf(one, ['arch'], 'name') === arch,
  );
  const offered = guest === undefined ? [] : children(find(guest, 'arch') ?? guest, 'domain');
  const types = new Set(offered.map((domain) => domain.getAttribute('type')));
  const accelerations = (['kvm', 'tcg'] as const).filter((one) => types.has(DOMAIN_TYPE[one]));
  const [any] = accelerations;
  return {
    type,
    hostname,
    // Without a UUID of its own the host's name is the best key there is.
    hostId: textOf(host, 'host', 'uuid') ?? hostname,
    libraryVersion: [Math.floor(version / 1_000_000), Math.floor(version / 1000) % 1000, version % 1000].join('.'),
    arch,
    accelerations,
    firmwares: any === undefined ? [] : await firmwares(session, arch, domainType(any)),
  };
}

async function firmwares(session: LibvirtSession, arch: string, type: string): Promise<Firmware[]> {
  const what = 'The firmware of the hypervisor could not be listed';
  const domain = parse(await session.ask(what, 'domainCapabilities', arch, MACHINE, type));
  const choice = children(find(domain, 'os') ?? domain, 'enum').find((one) => one.getAttribute('name') === 'firmware');
  const offered = choice === undefined ? [] : children(choice, 'value').map((value) => value.textContent);
  return offered.includes('efi') ? ['bios', 'uefi'] : ['bios'];
}

/** Every pool, its free space read anew where it is active. */
export async function listPools(session: LibvirtSession): Promise<PoolFacts[]> {
  const pools: PoolFacts[] = [];
  for (const name of await session.ask('The storage pools could not be listed', 'poolList', 0)) {
    const what = `The storage pool ${name} could not be read`;
    const before = await session.askUnless(VIR_ERR.NO_STORAGE_POOL, what, 'poolInfo', name);
    if (before === undefined) continue;
    const active = before.state === POOL_RUNNING;
    // Refused while the pool has a job, for example a volume being copied: then the figures are as of its last refresh.
    if (active) await session.askUnless(VIR_ERR.INTERNAL_ERROR, what, 'poolRefresh', name);
    const now = active ? await session.ask(what, 'poolInfo', name) : before;
    pools.push({ name, active, capacityBytes: now.capacity, availableBytes: now.available });
  }
  return pools;
}
