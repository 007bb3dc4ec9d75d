import type { JobContext } from '../context.ts';
import { diskSerial, overlayVolume, replicaVolume, transferVmName } from '../names.ts';
import { overlayDisk } from '../specs.ts';
import { throwIfAborted } from '../wait.ts';

/** Takes the replicas from the transfer VM and gives it fresh overlays on them. Entered again: overlays are made anew. */
export async function overlay(context: JobContext): Promise<void> {
  const { job, deps, hypervisor, signal } = context;
  const { driver } = hypervisor;
  const vm = transferVmName(job.id);
  const receiver = await deps.receivers.waitFor(job.id, 180_000, signal);
  await receiver.request('copy.release', { jobId: job.id }, 60_000);
  for (const disk of job.disks) {
    throwIfAborted(signal);
    await driver.detachDisk(vm, diskSerial('replica', disk.disk));
    await driver.detachDisk(vm, diskSerial('overlay', disk.disk));
    const volume = overlayVolume(job.pool, job.id, disk.disk);
    await driver.deleteVolume(volume.pool, volume.name);
    await driver.createOverlay(volume, replicaVolume(job.pool, job.id, disk.disk));
    await driver.attachDisk(vm, overlayDisk(job, disk));
  }
  context.detail(`${job.disks.length} overlay(s); the replica stays as it is`);
}
