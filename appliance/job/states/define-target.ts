import { RehostError } from '../../api/errors.ts';
import type { JobContext } from '../context.ts';
import { targetVm } from '../specs.ts';

/** Defines the target VM with the source's CPU, memory, firmware, disks and MACs, on the isolated network. */
export async function defineTarget(context: JobContext): Promise<void> {
  const { job, hypervisor } = context;
  const { driver } = hypervisor;
  await driver.ensureIsolatedNetwork(job.isolatedNetwork);
  if ((await driver.vmState(job.order.name)) !== 'absent') {
    // Entered again after a crash: a VM of ours is made anew, somebody else's is not touched.
    const mine = (await driver.ownedVms()).find((vm) => vm.name === job.order.name && vm.owner.jobId === job.id);
    if (!mine) throw new RehostError('NAME_TAKEN', `Somebody made a VM named '${job.order.name}' while the job ran.`);
    await driver.destroyVm(job.order.name);
  }
  await driver.defineVm(targetVm(job, job.acceleration ?? 'tcg'));
  context.detail(
    `'${job.order.name}': ${job.cpus} CPU(s), ${Math.round(job.memoryBytes / 1048576)} MiB, ${job.firmware}`,
  );
}
