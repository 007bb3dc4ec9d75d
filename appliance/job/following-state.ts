/** Which state follows, from the table and from how the present one ended. */
import { RehostError, toWire, type WireError } from '../api/errors.ts';
import type { Job, JobState } from '../api/job.ts';
import { STATES } from './states.ts';

export function cancelled(): RehostError {
  return new RehostError('JOB_CANCELLED', 'The job was cancelled.');
}

/** How a state's handler ended. */
export interface StateEnd {
  failure: WireError | undefined;
  /** It asked to go back. */
  again: boolean;
}

/** Where the job goes from its present state; writes into its record why. */
export function followingState(job: Job, end: StateEnd): JobState {
  if (job.state === 'clean-up') return afterCleanUp(job, end.failure);
  if (job.state === 'recheck') return afterRecheck(job, end.failure);
  if (job.state === 'recheck-end') return afterRecheckEnd(job, end.failure);
  return afterWork(job, end);
}

/** A cancel that came when the handler no longer looked counts all the same. */
function afterWork(job: Job, { failure, again }: StateEnd): JobState {
  const reason = job.cancelRequested ? toWire(cancelled()) : failure;
  const { next, again: back } = STATES[job.state];
  if (!reason) return (again ? back : next) ?? 'failed';
  job.error = reason;
  return 'clean-up';
}

/** Its own failure ends the job too, and says so. */
function afterCleanUp(job: Job, failure: WireError | undefined): JobState {
  if (failure) {
    job.cleanUpFailed = true;
    job.error = {
      ...failure,
      message: `${job.error ? `${job.error.message} ` : ''}The clean-up failed: ${failure.message}`,
      next: `See that hypervisor '${job.hypervisor}' answers, then retry the job or cancel it once more; everything of it is named rehost-${job.id}-*.`,
    };
    return 'failed';
  }
  if (!job.cancelRequested) return 'failed';
  // The cancel came while a failure was cleaned up, after the replicas had been kept: once more, without keeping them.
  return job.kept.length > 0 ? 'clean-up' : 'cancelled';
}

/** The handler wrote its outcome; what kept it from one is written here. A check that was cancelled has none. */
function afterRecheck(job: Job, failure: WireError | undefined): JobState {
  if (failure && !job.cancelRequested) {
    const message = `${failure.code}: ${failure.message}`;
    job.lastCheck = { at: new Date().toISOString(), ok: null, message };
  }
  return 'recheck-end';
}

/** The job is what it was: one that failed has its error still. */
function afterRecheckEnd(job: Job, failure: WireError | undefined): JobState {
  if (failure) {
    const left = `What a check made may be left on hypervisor '${job.hypervisor}': ${failure.message} The next check removes it.`;
    if (!job.warnings.includes(left)) job.warnings.push(left);
  }
  job.cancelRequested = false;
  job.pauseRequested = false;
  return job.error ? 'failed' : 'done';
}
