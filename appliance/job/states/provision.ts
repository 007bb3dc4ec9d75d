import { journalLayout } from '../../api/journal.ts';
import type { JobContext } from '../context.ts';
import { ensureTransferImage } from '../images.ts';
import { journalVolume, replicaVolume, transferVmName } from '../names.ts';
import { writeConfigDisk } from '../transfer-vm.ts';
import { throwIfAborted } from '../wait.ts';

/** Makes the replica volumes and their journal, uploads the transfer image where it is missing, and writes the config disk. */
export async function provision(context: JobContext): Promise<void> {
  const { job, deps, hypervisor, signal } = context;
  const { driver } = hypervisor;
  await ensureTransferImage(driver, job.pool, deps.imageDir);
  // Entered again after a crash: a transfer VM that was started with an earlier secret must not live on.
  await driver.destroyVm(transferVmName(job.id));
  // Replicas that were verified are kept for the retry; others are made anew, with a journal that knows of nothing.
  if (!job.replicaVerified) {
    for (const disk of job.disks) {
      throwIfAborted(signal);
      const volume = replicaVolume(job.pool, job.id, disk.disk);
      await driver.deleteVolume(volume.pool, volume.name);
      await driver.createVolume(volume, disk.sizeBytes);
    }
    const journal = journalVolume(job.pool, job.id);
    await driver.deleteVolume(journal.pool, journal.name);
    await driver.createVolume(journal, journalLayout(job.disks).sizeBytes);
  }
  throwIfAborted(signal);
  await writeConfigDisk(context);
  context.detail(`${job.disks.length} replica volume(s) in pool '${job.pool}'`);
}
