import type { JobContext } from '../context.ts';
import { configVolume, diskSerial, transferVmName } from '../names.ts';

/** Lets the guest's kernel finish with the overlays, then destroys the transfer VM with its root file system and its config disk. */
export async function stopTransfer(context: JobContext): Promise<void> {
  const { job, deps, hypervisor } = context;
  const { driver } = hypervisor;
  const vm = transferVmName(job.id);
  if ((await driver.vmState(vm)) === 'running') {
    for (const disk of job.disks) await driver.detachDisk(vm, diskSerial('overlay', disk.disk));
  }
  await driver.destroyVm(vm);
  await deps.receivers.forget(job.id);
  const config = configVolume(job.pool, job.id);
  await driver.deleteVolume(config.pool, config.name);
}
