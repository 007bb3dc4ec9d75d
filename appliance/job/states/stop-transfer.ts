import type { JobContext } from '../context.ts';
import { configVolume, diskSerial, journalVolume, transferVmName } from '../names.ts';

/** Lets the guest's kernel finish with the overlays, then destroys the transfer VM with its root file system, its config disk and the journal. */
export async function stopTransfer(context: JobContext): Promise<void> {
  const { job, deps, hypervisor, transferConsole } = context;
  const { driver } = hypervisor;
  const vm = transferVmName(job.id);
  if ((await driver.vmState(vm)) === 'running') {
    for (const disk of job.disks) await driver.detachDisk(vm, diskSerial('overlay', disk.disk));
  }
  await transferConsole[Symbol.asyncDispose]();
  await driver.destroyVm(vm);
  await deps.receivers.forget(job.id);
  // The journal is the manifest by now, which the appliance keeps.
  for (const volume of [configVolume(job.pool, job.id), journalVolume(job.pool, job.id)]) {
    await driver.deleteVolume(volume.pool, volume.name);
  }
}
