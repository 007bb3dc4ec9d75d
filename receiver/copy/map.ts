/** The used ranges of an export, by BLOCK_STATUS over all of it. */

import { RehostError } from '../../appliance/api/errors.ts';
import { NBD_STATE_ZERO } from '../../appliance/api/nbd.ts';
import type { Agreement } from './client.ts';
import type { Requests } from './requests.ts';
import { UsedRanges } from './used-ranges.ts';

/** Asked for at once, bytes: below 4 GiB, which is what a request's length can say, and aligned. */
const ASK_BYTES = 2 * 1024 ** 3;
/** Answers and descriptors that one map may take; the rest of a more detailed one is taken as used. */
const ANSWERS_MAX = 1024 * 1024;
const DESCRIPTORS_MAX = 64 * 1024 * 1024;

/**
 * Everything that the server does not say to be zero is used; without base:allocation that is the whole disk. A hole that
 * is not said to read as zeros is used as well. `check` is called between answers and throws to give up.
 */
export function readMap(requests: Requests, agreement: Agreement, check: () => void): Float64Array {
  const used = new UsedRanges(agreement.sizeBytes);
  let at = 0;
  let descriptors = 0;
  for (let answers = 0; agreement.allocationId !== undefined && at < agreement.sizeBytes; answers++) {
    if (answers >= ANSWERS_MAX || descriptors >= DESCRIPTORS_MAX) break;
    check();
    requests.status(at, Math.min(ASK_BYTES, agreement.sizeBytes - at));
    requests.flush();
    const reply = requests.complete();
    if (reply.kind !== 'status') throw new RehostError('PROTOCOL_VIOLATION', 'A READ was answered that was not asked.');
    if (reply.error) break;
    for (const { length, flags } of reply.descriptors ?? []) {
      // The last descriptor may go beyond what was asked for, also beyond the disk.
      const end = Math.min(agreement.sizeBytes, at + length);
      if ((flags & NBD_STATE_ZERO) === 0 && end > at) used.add(at, end);
      at = end;
      descriptors++;
    }
  }
  if (at < agreement.sizeBytes) used.add(at, agreement.sizeBytes);
  return used.finish();
}
