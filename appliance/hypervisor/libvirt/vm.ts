/** The life of a VM once it is defined: started, stopped, removed. */
import { setTimeout as sleep } from 'node:timers/promises';
import { VIR_ERR } from '../../../native/libvirt/error.ts';
import { RehostError } from '../../api/errors.ts';
import type { OwnedVm, Owner, VmState } from '../driver.ts';
import { useHostCache } from './disk-xml.ts';
import { checkName } from './names.ts';
import { METADATA_ELEMENT, OWNER_URI, readOwner } from './owner.ts';
import type { LibvirtSession } from './session.ts';
import { children, find, parse, serialize } from './xml.ts';

/** virDomainDefineFlags: checked against libvirt's schema. */
export const DEFINE_VALIDATE = 1;
/** virDomainCreateFlags. */
const START_PAUSED = 1;
/** virDomainUndefineFlagsValues: managed save 1, snapshot metadata 2, NVRAM 4, checkpoint metadata 16. */
const UNDEFINE_EVERYTHING = 1 | 2 | 4 | 16;
/** virDomainXMLFlags: with what is secret 1, as it is defined 2. */
const XML_INACTIVE = 1 | 2;
/** virDomainState. */
const PAUSED = 3;
const SHUT_OFF = 5;
const CRASHED = 6;
const SUSPENDED = 7;
/** virDomainShutoffReason: QEMU ended by itself. */
const SHUT_OFF_BY_CRASH = 3;
/** How often a VM's state is asked while something is waited for, ms. */
const POLL_MS = 250;
/** QEMU's and libvirt's words for a file system that takes no direct I/O. */
const NO_DIRECT_IO = /O_DIRECT/;

/** Starts a VM; one that runs already is left alone, one that is paused goes on. */
export async function startVm(session: LibvirtSession, name: string): Promise<void> {
  if (await startPaused(session, name)) await resumeVm(session, name);
}

/** Starts a VM up to its first instruction. False when it runs already. */
export async function startPaused(session: LibvirtSession, name: string): Promise<boolean> {
  const before = await vmState(session, name);
  if (before === 'running') return false;
  if (before === 'paused') return true;
  const what = `The VM ${name} could not be started`;
  try {
    await session.ask(what, 'domainCreate', name, START_PAUSED);
  } catch (error) {
    if (!isNoDirectIo(error)) throw error;
    const domain = parse(await session.ask(what, 'domainXml', name, XML_INACTIVE));
    for (const disk of children(find(domain, 'devices') ?? domain, 'disk')) useHostCache(disk);
    await session.ask(what, 'domainDefine', serialize(domain), DEFINE_VALIDATE);
    await session.ask(what, 'domainCreate', name, START_PAUSED);
  }
  return true;
}

export async function resumeVm(session: LibvirtSession, name: string): Promise<void> {
  await session.ask(`The VM ${name} could not be started`, 'domainResume', name);
}

/** Its CPUs stop; one that is suspended is left alone. */
export async function suspendVm(session: LibvirtSession, name: string): Promise<void> {
  if ((await vmState(session, name)) === 'paused') return;
  await session.ask(`The VM ${name} could not be suspended`, 'domainSuspend', name);
}

/** Lets a suspended VM go on; one that runs is left alone. */
export async function goOn(session: LibvirtSession, name: string): Promise<void> {
  if ((await vmState(session, name)) === 'running') return;
  await session.ask(`The VM ${name} could not be resumed`, 'domainResume', name);
}

export function isNoDirectIo(error: unknown): boolean {
  return error instanceof RehostError && error.code === 'HYPERVISOR_REFUSED' && NO_DIRECT_IO.test(error.message);
}

export async function shutdownVm(session: LibvirtSession, name: string, deadlineMs: number): Promise<boolean> {
  const deadline = Date.now() + deadlineMs;
  if (isOff(await vmState(session, name))) return true;
  const what = `The VM ${name} could not be asked to shut down`;
  // Refused when it went off in this moment; the state below says so.
  await session.askUnless(VIR_ERR.OPERATION_INVALID, what, 'domainShutdown', name, 0);
  for (;;) {
    if (isOff(await vmState(session, name))) return true;
    const left = deadline - Date.now();
    if (left <= 0) return false;
    await sleep(Math.min(POLL_MS, left));
  }
}

export async function destroyVm(session: LibvirtSession, name: string): Promise<void> {
  if ((await vmState(session, name)) === 'absent') return;
  if ((await ownerOf(session, name)) === undefined) {
    throw new RehostError('HYPERVISOR_REFUSED', `The VM ${name} was not made by Rehost and is not removed.`, {
      next: 'Choose another name, or remove the VM by hand.',
    });
  }
  const what = `The VM ${name} could not be removed`;
  // Refused when it is off.
  await session.askUnless(VIR_ERR.OPERATION_INVALID, what, 'domainDestroy', name, 0);
  await session.askUnless(VIR_ERR.NO_DOMAIN, what, 'domainUndefine', name, UNDEFINE_EVERYTHING);
}

export async function vmState(session: LibvirtSession, name: string): Promise<VmState> {
  checkName('VM', name);
  const what = `The state of the VM ${name} could not be read`;
  const found = await session.askUnless(VIR_ERR.NO_DOMAIN, what, 'domainState', name);
  if (found === undefined) return 'absent';
  if (found.state === SHUT_OFF) return found.reason === SHUT_OFF_BY_CRASH ? 'crashed' : 'shut-off';
  if (found.state === CRASHED) return 'crashed';
  return found.state === PAUSED || found.state === SUSPENDED ? 'paused' : 'running';
}

export async function ownedVms(session: LibvirtSession): Promise<OwnedVm[]> {
  const owned: OwnedVm[] = [];
  for (const name of await session.ask('The VMs could not be listed', 'domainList', 0)) {
    const owner = await ownerOf(session, name);
    if (owner !== undefined) owned.push({ name, owner });
  }
  return owned;
}

/** Undefined for a VM that is not ours, or went away. */
export async function ownerOf(session: LibvirtSession, name: string): Promise<Owner | undefined> {
  const what = `The metadata of the VM ${name} could not be read`;
  try {
    const text = await session.askUnless(
      VIR_ERR.NO_DOMAIN_METADATA,
      what,
      'domainMetadata',
      name,
      METADATA_ELEMENT,
      OWNER_URI,
      0,
    );
    return text === undefined ? undefined : readOwner(text);
  } catch (error) {
    if (error instanceof RehostError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}

function isOff(state: VmState): boolean {
  return state === 'shut-off' || state === 'crashed' || state === 'absent';
}
