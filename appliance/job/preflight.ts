/** Everything that can be known to go wrong before the first byte. Changes nothing; a refusal leaves nothing behind. */
import { randomBytes } from 'node:crypto';
import { RehostError } from '../api/errors.ts';
import type { SourceDisk } from '../api/inventory.ts';
import type { Job, JobOrder } from '../api/job.ts';
import type { Machine } from '../api/rest.ts';
import { blankJob } from './blank.ts';
import type { HypervisorHandle } from './dependencies.ts';
import { overlayVolume, RESERVED_DISK_NAMES, replicaVolume } from './names.ts';

/** 40 bits, lower case: short enough to type, and it stands in object names. */
function newJobId(): string {
  return BigInt(`0x${randomBytes(5).toString('hex')}`)
    .toString(36)
    .padStart(8, '0');
}

function chooseDisks(machine: Machine, order: JobOrder): SourceDisk[] {
  const disks = machine.inventory.disks;
  const reserved = disks.find(({ name }) => RESERVED_DISK_NAMES.includes(name));
  if (reserved) {
    throw new RehostError(
      'SNAPSHOT_REFUSED',
      `Machine '${machine.name}' says that it has a disk '${reserved.name}'; no disk is named so.`,
    );
  }
  if (!order.disks) {
    if (disks.length === 0)
      throw new RehostError('SNAPSHOT_REFUSED', `Machine '${machine.name}' has no disk that could be copied.`);
    return disks;
  }
  return order.disks.map((name) => {
    const disk = disks.find((candidate) => candidate.name === name);
    if (!disk) {
      const have = disks.map((candidate) => `${candidate.name} (${candidate.model} ${candidate.serial})`).join(', ');
      throw new RehostError(
        'REQUEST_INVALID',
        `disks: machine '${machine.name}' has no disk '${name}'; it has ${have}.`,
      );
    }
    return disk;
  });
}

async function checkHypervisor(
  hypervisor: HypervisorHandle,
  machine: Machine,
  job: Job,
  running: readonly Job[],
): Promise<void> {
  const { driver } = hypervisor;
  const facts = await driver.probe();
  if (!facts.firmwares.includes(machine.inventory.firmware)) {
    throw new RehostError(
      'FIRMWARE_UNSUPPORTED',
      `Hypervisor '${hypervisor.name}' has no ${machine.inventory.firmware} firmware.`,
    );
  }
  if ((await driver.vmState(job.order.name)) !== 'absent') {
    throw new RehostError('NAME_TAKEN', `Hypervisor '${hypervisor.name}' already has a VM named '${job.order.name}'.`);
  }
  const networks = await driver.networks();
  for (const name of [job.network, hypervisor.transferNetwork]) {
    const network = networks.find((candidate) => candidate.name === name);
    if (!network?.active)
      throw new RehostError('NETWORK_UNKNOWN', `Hypervisor '${hypervisor.name}' has no active network '${name}'.`);
  }
  const pool = (await driver.pools()).find((candidate) => candidate.name === job.pool);
  if (!pool?.active)
    throw new RehostError('POOL_UNKNOWN', `Hypervisor '${hypervisor.name}' has no active pool '${job.pool}'.`);
  // The blocks in use are known only once the agent serves them; until then the whole disk must fit, which is never too little.
  const needed = job.disks.reduce((sum, disk) => sum + disk.sizeBytes, 0);
  const promised = await promisedBytes(hypervisor, job.pool, running);
  if (needed > pool.availableBytes - promised) {
    throw new RehostError(
      'POOL_TOO_SMALL',
      `The disks are ${needed} bytes; pool '${pool.name}' has ${pool.availableBytes} bytes available, of which running jobs will take ${promised}.`,
    );
  }
}

/** What the replicas of running jobs may still grow by: a volume takes its room as it is written. Bytes. */
async function promisedBytes(hypervisor: HypervisorHandle, pool: string, running: readonly Job[]): Promise<number> {
  let promised = 0;
  for (const job of running) {
    if (job.hypervisor !== hypervisor.name || job.pool !== pool) continue;
    for (const disk of job.disks) {
      const volume = await hypervisor.driver.findVolume(pool, disk.replica);
      promised += Math.max(0, disk.sizeBytes - (volume?.allocationBytes ?? 0));
    }
  }
  return promised;
}

/** Facts of the guest that a person should know before the copy. */
function warnings(machine: Machine, disks: readonly SourceDisk[]): string[] {
  const found: string[] = [];
  if (machine.inventory.secureBoot) found.push('The source boots with Secure Boot; the target VM boots without it.');
  for (const disk of disks) {
    for (const partition of disk.partitions) {
      const kind = partition.fileSystem;
      if (kind === 'crypto_LUKS' || kind === 'BitLocker') {
        found.push(
          `${partition.name} is encrypted (${kind}): it is copied whole, and the copy asks for the key as the source does.`,
        );
      } else if (kind === 'LVM2_member' || kind === 'linux_raid_member' || kind === 'ntfs') {
        found.push(`${partition.name} is ${kind}: it is copied whole; conversion of such a guest is not there yet.`);
      }
    }
  }
  return found;
}

/** Checks an order and makes the job's record, in memory only. Throws the one error that says what is wrong. */
export async function preflight(
  order: JobOrder,
  machine: Machine,
  hypervisor: HypervisorHandle,
  running: readonly Job[],
): Promise<Job> {
  if (!machine.approved) throw new RehostError('MACHINE_NOT_APPROVED', `Machine '${machine.name}' is not approved.`);
  if (!machine.online) throw new RehostError('MACHINE_OFFLINE', `Machine '${machine.name}' is not connected.`);
  const busy = running.find((job) => job.machineId === machine.id);
  if (busy) throw new RehostError('MACHINE_BUSY', `Machine '${machine.name}' is being copied by job ${busy.id}.`);
  const promised = running.find((job) => job.order.name === order.name && job.hypervisor === hypervisor.name);
  if (promised) throw new RehostError('NAME_TAKEN', `Job ${promised.id} is making a VM named '${order.name}'.`);

  const startedAt = new Date().toISOString();
  const disks = chooseDisks(machine, order);
  const id = newJobId();
  const pool = order.pool ?? hypervisor.pool;
  const job: Job = {
    ...blankJob(),
    id,
    order,
    machineId: machine.id,
    hypervisor: hypervisor.name,
    pool,
    network: order.network ?? hypervisor.network,
    isolatedNetwork: hypervisor.isolatedNetwork,
    state: 'provision',
    createdAt: startedAt,
    disks: disks.map((disk) => ({
      disk: disk.name,
      sizeBytes: disk.sizeBytes,
      identity: null,
      logicalSectorBytes: disk.logicalSectorBytes,
      keptAs: null,
      replica: replicaVolume(pool, id, disk.name).name,
      overlay: overlayVolume(pool, id, disk.name).name,
    })),
    nics: machine.inventory.nics,
    firmware: machine.inventory.firmware,
    cpus: order.cpus ?? machine.inventory.cpu.cores,
    memoryBytes: order.memoryBytes ?? machine.inventory.memoryBytes,
    warnings: warnings(machine, disks),
  };
  await checkHypervisor(hypervisor, machine, job, running);
  job.phases.push({
    state: 'preflight',
    startedAt,
    endedAt: new Date().toISOString(),
    detail: 'nothing stands in the way',
  });
  return job;
}
