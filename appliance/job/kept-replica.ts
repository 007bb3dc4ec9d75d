/** Replicas that a failed job kept: a retry takes them only as they were. */
import { RehostError } from '../api/errors.ts';
import type { Job } from '../api/job.ts';
import type { HypervisorDriver } from '../hypervisor/driver.ts';

/** What tells that nobody wrote to a volume meanwhile: its size and the time of its last change. Not the room it takes, which file systems tidy later. */
export async function fingerprint(driver: HypervisorDriver, pool: string, name: string): Promise<string> {
  const volume = await driver.findVolume(pool, name);
  return volume ? `${volume.capacityBytes} bytes, ${volume.modifiedAt ?? 'time unknown'}` : 'absent';
}

/** REPLICA_CHANGED when a kept replica is gone or was touched: it was verified as it was, not as it is. */
export async function checkKeptReplicas(driver: HypervisorDriver, job: Job): Promise<void> {
  for (const disk of job.disks) {
    const now = await fingerprint(driver, job.pool, disk.replica);
    if (now === disk.keptAs) continue;
    throw new RehostError(
      'REPLICA_CHANGED',
      now === 'absent'
        ? `The replica '${disk.replica}' is no longer in pool '${job.pool}'.`
        : `The replica '${disk.replica}' was changed since job ${job.id} kept it (${disk.keptAs}; now ${now}).`,
    );
  }
}
