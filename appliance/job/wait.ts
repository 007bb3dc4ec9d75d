/** Bounded waiting that a cancel ends at once. */
import { setTimeout as sleep } from 'node:timers/promises';
import { RehostError } from '../api/errors.ts';

/** Throws JOB_CANCELLED (or the abort's own reason, if that is an error of ours) when the signal has fired. */
export function throwIfAborted(signal: AbortSignal): void {
  if (!signal.aborted) return;
  throw signal.reason instanceof RehostError
    ? signal.reason
    : new RehostError('JOB_CANCELLED', 'The job was cancelled.');
}

/** Sleeps `ms`; an abort ends it with the abort's error. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    throwIfAborted(signal);
    throw error;
  }
}
