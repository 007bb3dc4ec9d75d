/** Lets go of the source machine: ends the export and drops the snapshot. */
import { RehostError } from '../api/errors.ts';
import type { JobContext } from './context.ts';

/** An agent that is away holds nothing that matters: its disks were only read, and a reboot ends all. That it was away is logged. */
export async function releaseSource(context: Pick<JobContext, 'job' | 'deps' | 'log'>): Promise<void> {
  const { job, deps, log } = context;
  const agent = deps.agents.get(job.machineId);
  if (!agent) {
    log.line('the agent is not connected; its snapshot ends with it');
    return;
  }
  for (const method of ['export.stop', 'snapshot.release'] as const) {
    try {
      await agent.request(method, { jobId: job.id }, 30_000);
    } catch (error) {
      if (!(error instanceof RehostError) || error.code === 'INTERNAL') throw error;
      if (error.code !== 'JOB_UNKNOWN') log.line(`${method}: ${error.message}`);
    }
  }
}
