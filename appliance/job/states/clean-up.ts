import { ownedByJob } from '../../hypervisor/owned.ts';
import type { JobContext } from '../context.ts';
import { fingerprint } from '../kept-replica.ts';
import { releaseSource } from '../release.ts';
import { LOCAL_CONFIG } from '../transfer-vm.ts';

/**
 * Removes what the job made: VMs by their metadata, volumes by their prefix. Verified replicas of a job that failed are kept,
 * so that a retry needs no second copy; a cancel removes them as well. Entered again: what is gone is gone.
 */
export async function cleanUp(context: JobContext): Promise<void> {
  const { job, deps, hypervisor, log, transferConsole } = context;
  const { driver } = hypervisor;
  await releaseSource(context);
  log.drop(LOCAL_CONFIG);
  await transferConsole[Symbol.asyncDispose]();
  const owned = await ownedByJob(driver, job.id);
  for (const vm of owned.vms) {
    await driver.destroyVm(vm.name);
    log.line(`removed VM '${vm.name}'`);
  }
  await deps.receivers.forget(job.id);
  const keep = new Set(job.replicaVerified && !job.cancelRequested ? job.disks.map((disk) => disk.replica) : []);
  for (const volume of owned.volumes) {
    if (keep.has(volume.name)) continue;
    await driver.deleteVolume(volume.pool, volume.name);
    log.line(`removed volume '${volume.name}'`);
  }
  for (const disk of job.disks) {
    disk.keptAs = keep.has(disk.replica) ? await fingerprint(driver, job.pool, disk.replica) : null;
  }
  job.kept = [...keep];
  job.replicaVerified = keep.size > 0;
  job.cleanUpFailed = false;
  context.detail(
    keep.size > 0 ? `kept for a retry: ${job.kept.join(', ')}` : 'nothing of the job is left on the hypervisor',
  );
}
