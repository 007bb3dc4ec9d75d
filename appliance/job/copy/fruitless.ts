/** The bound of beginning again. */
import { RehostError } from '../../api/errors.ts';
import type { JobContext } from '../context.ts';
import { againAfter } from './outcome.ts';
import { lives, transferVmState } from './receiver.ts';

/** A VM that dies five times without a single flush in between dies of something that a sixth start does not mend. */
const FRUITLESS_MAX = 5;

/** More than ever is on stable storage: the count begins anew. Durable with the next save. */
export function noteFlushed(context: JobContext, flushedBytes: number): void {
  const { job } = context;
  if (flushedBytes <= job.flushedBytes) return;
  job.flushedBytes = flushedBytes;
  job.fruitless = 0;
}

/** Counts one more beginning, durably. Throws `why` when nothing new came of FRUITLESS_MAX in a row. */
export async function noteAgain(context: JobContext, why: RehostError): Promise<void> {
  const { job, log } = context;
  job.fruitless++;
  await context.save();
  if (job.fruitless < FRUITLESS_MAX) {
    log.line(`begins again: ${why.code}: ${why.message}`);
    return;
  }
  const code = why.code === 'TRANSFER_FAILED' ? why.code : 'RECEIVER_LOST';
  throw new RehostError(code, `${why.message} It was begun ${FRUITLESS_MAX} times without anything new being written.`);
}

/**
 * Sends the job back to where its state begins again when `work` lost its receiver or transfer VM, which may show in a call to the
 * hypervisor too; other failures are thrown on.
 */
export async function goBackAfterLoss(context: JobContext, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (context.signal.aborted || !(await lost(context, error))) throw error;
    await goBack(context, error instanceof RehostError ? error : new RehostError('RECEIVER_LOST', String(error)));
  }
}

async function lost(context: JobContext, error: unknown): Promise<boolean> {
  if (againAfter(error)?.newVm) return true;
  // A guest that does not let go of a disk hangs.
  if (error instanceof RehostError && error.code === 'TIMEOUT') return true;
  // Where the hypervisor does not answer, the first error is the one to tell.
  const state = await transferVmState(context).catch(() => undefined);
  return state !== undefined && !lives(state);
}

/** Sends the job back to where its state begins again, if that is of any use: see `noteAgain`. */
export async function goBack(context: JobContext, why: RehostError): Promise<void> {
  await noteAgain(context, why);
  context.detail(`begins again: ${why.message}`);
  context.again();
}
