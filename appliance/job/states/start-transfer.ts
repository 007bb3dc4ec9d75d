import type { JobContext } from '../context.ts';
import { ensureTransferImage } from '../images.ts';
import { transferVmName } from '../names.ts';
import { copyDisks } from '../specs.ts';
import { awaitReceiver, restartTransferVm, startTransferVm } from '../transfer-vm.ts';

/** Starts the transfer VM and waits for its receiver. Entered again: a receiver that enrolled already dials in again by itself. */
export async function startTransfer(context: JobContext): Promise<void> {
  const { job, deps, hypervisor, log } = context;
  const { driver } = hypervisor;
  const name = transferVmName(job.id);
  const image = () => ensureTransferImage(driver, job.pool, deps.imageDir);
  const proven = await deps.hypervisors.acceleration(hypervisor, image);
  job.acceleration = proven.acceleration;
  await context.save();
  log.line(`acceleration ${proven.acceleration}: ${proven.reason}`);

  const started = Date.now();
  if ((await driver.vmState(name)) === 'running') await awaitReceiver(context, await driver.console(name));
  // It ended after its receiver had used the secret: a new one, then.
  else if (deps.receivers.enrolled(job.id)) await restartTransferVm(context, copyDisks(job));
  else await startTransferVm(context, copyDisks(job));
  context.detail(
    `receiver ready ${((Date.now() - started) / 1000).toFixed(1)} s after VM start, ${proven.acceleration}`,
  );
}
