/** The transfer VM of a job: its config disk, its start, and its start anew when it or its receiver is gone. */
import { encodeConfigDisk } from '../api/config-disk.ts';
import { CONFIG_DISK_BYTES } from '../api/transfer.ts';
import type { ConsoleReader, DiskSpec } from '../hypervisor/driver.ts';
import type { JobContext } from './context.ts';
import { ensureTransferImage } from './images.ts';
import { configVolume, transferVmName } from './names.ts';
import { transferVm } from './specs.ts';

/** From VM start to the receiver's hello, ms: measured 10 to 20 s under emulation, a few seconds under KVM; slow hosts get slack. */
const RECEIVER_DEADLINE_MS = 180_000;
/** The config disk on its way to the hypervisor, below the job's folder. */
export const LOCAL_CONFIG = 'config-disk';

/** Writes the config disk with a fresh enrolment secret: an earlier one and its receiver's session are void. The VM must be gone. */
export async function writeConfigDisk(context: JobContext): Promise<void> {
  const { job, deps, log, hypervisor } = context;
  const { driver } = hypervisor;
  // A crash in the middle of an upload left it behind.
  log.drop(LOCAL_CONFIG);
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
}

/** Defines the transfer VM with these disks beside its config disk, starts it and waits for its receiver. TRANSFER_VM_SILENT. */
export async function startTransferVm(context: JobContext, disks: DiskSpec[]): Promise<void> {
  const { job, deps, hypervisor } = context;
  const { driver } = hypervisor;
  const name = transferVmName(job.id);
  const image = await ensureTransferImage(driver, job.pool, deps.imageDir);
  await driver.destroyVm(name);
  await driver.defineVm(transferVm(job, job.acceleration ?? 'tcg', image, hypervisor.transferNetwork, disks));
  await awaitReceiver(context, await driver.startVmWithConsole(name));
}

/** Waits for the receiver of a VM that was just started or met again; its console goes to the job's log from now on. */
export async function awaitReceiver(context: JobContext, reader: ConsoleReader): Promise<void> {
  const { job, deps, signal, transferConsole } = context;
  await transferConsole.follow(reader);
  await deps.receivers.waitFor(job.id, RECEIVER_DEADLINE_MS, signal);
}

/** Ends the transfer VM and starts it with the same disks and a new enrolment secret. What is on them stays. */
export async function restartTransferVm(context: JobContext, disks: DiskSpec[]): Promise<void> {
  await context.transferConsole[Symbol.asyncDispose]();
  await context.hypervisor.driver.destroyVm(transferVmName(context.job.id));
  await writeConfigDisk(context);
  await startTransferVm(context, disks);
}
