import type { JobContext } from '../context.ts';
import { goBackAfterLoss } from '../copy/fruitless.ts';
import { ReceiverWatch } from '../copy/receiver.ts';
import { diskSerial, overlayVolume, replicaVolume, transferVmName } from '../names.ts';
import { overlayDisk } from '../specs.ts';
import { pause, throwIfAborted } from '../wait.ts';

const RELEASE_DEADLINE_MS = 60_000;

/**
 * Takes the replicas from the transfer VM and gives it fresh overlays on them. Entered again: overlays are made anew. Where the
 * receiver is lost the job goes back and starts the transfer VM anew.
 */
export async function overlay(context: JobContext): Promise<void> {
  await goBackAfterLoss(context, () => exchange(context));
}

async function exchange(context: JobContext): Promise<void> {
  const { job, hypervisor, signal } = context;
  const { driver } = hypervisor;
  const vm = transferVmName(job.id);
  const receiver = new ReceiverWatch(context);
  while (!(await receiver.ask((peer) => peer.request('copy.release', { jobId: job.id }, RELEASE_DEADLINE_MS)))) {
    await pause(context.pauses.pollMs, signal);
  }
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
