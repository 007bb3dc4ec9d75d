/** What is known of one area of a disk: a partition, or a disk without a table. */
import { SysError } from '../../../native/errors.ts';
import { Inconsistent } from './source.ts';

export interface AreaSpace {
  /** The format, or 'unknown' with the reason; for the log. */
  found: string;
  /** Pairs of start and end, bytes, sorted. Nobody needs what is there. */
  free: Float64Array;
  /** Where it is known what is in use and what is free. It contains all of `free`. */
  known: Float64Array;
}

export function unknownReason(reason: string): AreaSpace {
  return {
    found: reason === '' ? 'unknown' : `unknown: ${reason}`,
    free: new Float64Array(),
    known: new Float64Array(),
  };
}

/**
 * An area whose structures contradict themselves or cannot be read is unknown: reading it for the copy will name the place.
 * Any other error is thrown again.
 */
export function notUnderstood(error: unknown): AreaSpace {
  if (error instanceof Inconsistent || error instanceof SysError) return unknownReason(error.message);
  throw error;
}
