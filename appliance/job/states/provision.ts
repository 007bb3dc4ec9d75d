import { encodeConfigDisk } from '../../api/config-disk.ts';
import { CONFIG_DISK_BYTES } from '../../api/transfer.ts';
import type { JobContext } from '../context.ts';
import { ensureTransferImage } from '../images.ts';
import { configVolume, replicaVolume, transferVmName } from '../names.ts';
import { throwIfAborted } from '../wait.ts';

/** The config disk on its way to the hypervisor, below the job's folder. */
export const LOCAL_CONFIG = 'config-disk';

/** Makes the replica volumes, uploads the transfer image where it is missing, and writes the config disk with a fresh secret. */
export async function provision(context: JobContext): Promise<void> {
  const { job, deps, log, hypervisor, signal } = context;
  const { driver } = hypervisor;
  // A crash in the middle of an upload left it behind.
  log.drop(LOCAL_CONFIG);
  await ensureTransferImage(driver, job.pool, deps.imageDir);
  // Entered again after a crash: a transfer VM that was started with an earlier secret must not live on.
  await driver.destroyVm(transferVmName(job.id));
  for (const disk of job.disks) {
    throwIfAborted(signal);
    const volume = replicaVolume(job.pool, job.id, disk.disk);
    // A replica that was verified is kept for the retry; any other is made anew, so that it reads as zero.
    if (job.replicaVerified) continue;
    await driver.deleteVolume(volume.pool, volume.name);
    await driver.createVolume(volume, disk.sizeBytes);
  }
  throwIfAborted(signal);
  const secret = await deps.receivers.expect(job.id);
  const config = encodeConfigDisk({
    version: 1,
    orchestrator: deps.controlAddress,
    caPem: deps.caPem,
    jobId: job.id,
    secret: secret.toString('base64'),
  });
  const volume = configVolume(job.pool, job.id);
  await driver.deleteVolume(volume.pool, volume.name);
  await driver.createVolume(volume, CONFIG_DISK_BYTES);
  const local = await log.keep(LOCAL_CONFIG, config);
  try {
    await driver.uploadVolume(volume, local);
  } finally {
    // It carries the enrolment secret.
    log.drop(LOCAL_CONFIG);
  }
  context.detail(`${job.disks.length} replica volume(s) in pool '${job.pool}'`);
}
