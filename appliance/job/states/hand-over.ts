import type { JobContext } from '../context.ts';

/** An orderly shutdown under emulation takes up to a minute, ms. */
const SHUTDOWN_DEADLINE_MS = 240_000;

/**
 * Shuts the proven target VM down and connects it to the network of the order, in this order: it never runs beside the live source.
 * A state of its own, so that a crash in the middle of it never boots the VM again. Entered again: what was done is done.
 */
export async function handOver(context: JobContext): Promise<void> {
  const { job, hypervisor } = context;
  const { driver } = hypervisor;
  const vm = job.order.name;
  if (job.order.keepRunning) {
    context.detail(`left running on isolated network '${job.isolatedNetwork}', as ordered`);
    return;
  }
  if (!(await driver.shutdownVm(vm, SHUTDOWN_DEADLINE_MS))) {
    const sentence = `The target VM has proved that it boots, but did not shut down: it runs on isolated network '${job.isolatedNetwork}' and is not connected to '${job.network}'.`;
    job.warnings.push(sentence);
    context.detail(sentence);
    return;
  }
  await driver.moveNics(vm, job.network);
  context.detail(`shut down, ready to start on network '${job.network}'`);
}
