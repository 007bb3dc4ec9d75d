/** How a round of a copy or of its verification ends, when it does not fail for good. */
import { type ErrorCode, RehostError } from '../../api/errors.ts';

/** It has to be begun again: what was recorded in the journal is not copied a second time. */
export interface Again {
  why: RehostError;
  /** The transfer VM is started anew. */
  newVm: boolean;
  /** The copy that the receiver may have begun is of no use: its agent has forgotten its end. */
  newCopy: boolean;
}

/** Codes that say that the other end, or the way to it, went away. */
const AWAY: ReadonlySet<ErrorCode> = new Set(['TRANSFER_FAILED', 'TIMEOUT', 'RECEIVER_LOST', 'TRANSFER_VM_SILENT']);
/** The agent is another than the one that was asked before, or has ended its export: a new snapshot, a new token. */
const FORGOTTEN: ReadonlySet<ErrorCode> = new Set(['JOB_UNKNOWN', 'TOKEN_SPENT']);

/** What this error means for a round; undefined where it is an answer that ends the job. */
export function againAfter(error: unknown): Again | undefined {
  if (!(error instanceof RehostError)) return undefined;
  if (FORGOTTEN.has(error.code)) return { why: error, newVm: false, newCopy: true };
  if (!AWAY.has(error.code)) return undefined;
  return { why: error, newVm: error.code === 'RECEIVER_LOST' || error.code === 'TRANSFER_VM_SILENT', newCopy: false };
}
