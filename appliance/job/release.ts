/** Lets go of the source machine: ends the export and drops the snapshot. */
import { RehostError } from '../api/errors.ts';
import type { JobContext } from './context.ts';

type Released = Pick<JobContext, 'job' | 'deps' | 'log'>;

/**
 * Tells the agent. Where it cannot be told now, `releasePending` is set, and the engine tells it when it dials in again: an agent
 * that is only cut off still holds its disks. The caller saves the record.
 */
export async function releaseSource({ job, deps, log }: Released): Promise<void> {
  job.releasePending = true;
  const agent = deps.agents.get(job.machineId);
  if (!agent) {
    log.line('the agent is not connected; it is told to let go when it is back');
    return;
  }
  for (const method of ['export.stop', 'snapshot.release'] as const) {
    try {
      await agent.request(method, { jobId: job.id }, 30_000);
    } catch (error) {
      // An agent that does not know the job holds nothing for it.
      if (error instanceof RehostError && error.code === 'JOB_UNKNOWN') continue;
      log.error(`${method} (it is tried again when the agent dials in)`, error);
      return;
    }
  }
  job.releasePending = false;
}
