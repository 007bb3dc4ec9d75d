/** The bound of beginning again. */
import { RehostError } from '../../api/errors.ts';
import type { JobContext } from '../context.ts';

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
