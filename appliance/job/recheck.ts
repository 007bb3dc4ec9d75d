/** What a check of an ended job makes on the hypervisor, and its removal. */
import type { JobContext } from './context.ts';
import { configVolume, journalVolume, transferVmName } from './names.ts';
import { LOCAL_CONFIG } from './transfer-vm.ts';

/** Removes the check's VM and volumes, by name: nothing that the job itself left. What is gone is gone. */
export async function removeCheck({ job, hypervisor, deps, log, transferConsole }: JobContext): Promise<void> {
  const { driver } = hypervisor;
  log.drop(LOCAL_CONFIG);
  await transferConsole[Symbol.asyncDispose]();
  await driver.destroyVm(transferVmName(job.id));
  await deps.receivers.forget(job.id);
  for (const volume of [configVolume(job.pool, job.id), journalVolume(job.pool, job.id)]) {
    await driver.deleteVolume(volume.pool, volume.name);
  }
}
