import { RehostError } from '../../api/errors.ts';
import type { ConsoleReader } from '../../hypervisor/driver.ts';
import { follow } from '../console-log.ts';
import type { JobContext } from '../context.ts';
import { ensureTransferImage } from '../images.ts';
import { transferVmName } from '../names.ts';
import { transferVm } from '../specs.ts';

/** From VM start to the receiver's hello, ms: measured 10 to 20 s under emulation, a few seconds under KVM; slow hosts get slack. */
const RECEIVER_DEADLINE_MS = 180_000;

/** Starts the transfer VM and waits for its receiver. Entered again: a receiver that enrolled already dials in again by itself. */
export async function startTransfer(context: JobContext): Promise<void> {
  const { job, deps, hypervisor, signal, log } = context;
  const { driver } = hypervisor;
  const name = transferVmName(job.id);
  const image = () => ensureTransferImage(driver, job.pool, deps.imageDir);
  const proven = await deps.hypervisors.acceleration(hypervisor, image);
  job.acceleration = proven.acceleration;
  await context.save();
  log.line(`acceleration ${proven.acceleration}: ${proven.reason}`);

  const started = Date.now();
  let reader: ConsoleReader;
  if ((await driver.vmState(name)) === 'running') {
    reader = await driver.console(name);
  } else {
    if (deps.receivers.enrolled(job.id)) {
      throw new RehostError('RECEIVER_LOST', 'The transfer VM ended after its receiver had enrolled.');
    }
    await driver.destroyVm(name);
    await driver.defineVm(transferVm(job, proven.acceleration, await image(), hypervisor.transferNetwork));
    reader = await driver.startVmWithConsole(name);
  }
  await using _console = follow(
    reader,
    (bytes) => log.console('transfer', bytes),
    (error) => log.error("the transfer VM's console broke", error),
  );
  await deps.receivers.waitFor(job.id, RECEIVER_DEADLINE_MS, signal);
  context.detail(
    `receiver ready ${((Date.now() - started) / 1000).toFixed(1)} s after VM start, ${proven.acceleration}`,
  );
}
