/** Answers to BLOCK_STATUS: bounded in descriptors and in what is read for them. */
import { NBD_STATE_HOLE, NBD_STATE_ZERO } from '../../appliance/api/nbd.ts';
import { zeroRuns } from '../../native/bytes.ts';
import type { DiskReader } from './reader.ts';

/** Descriptors in one answer. */
export const DESCRIPTORS_MAX = 4096;
/** Unknown areas are read to answer one request at most this far, bytes. */
const SCAN_MAX_BYTES = 64 * 1024 * 1024;
const SCAN_STEP_BYTES = 1024 * 1024;
/** Zeros found by reading are reported in runs of at least this, bytes. */
const SCAN_GRAIN_BYTES = 64 * 1024;

export interface Descriptor {
  length: number;
  flags: number;
}

const ZERO = NBD_STATE_HOLE | NBD_STATE_ZERO;
const DATA = 0;

/**
 * Descriptors from `offset` on, at least one, for at most `length` bytes; fewer bytes when a bound is reached, which the
 * protocol allows. `scan`: unknown areas are read and their zeros reported. Without it they are data: a client that gets
 * zero runs as holes from READ anyway would only have them read twice.
 */
export function blockStatus(
  reader: DiskReader,
  offset: number,
  length: number,
  one: boolean,
  scan: boolean,
): Descriptor[] {
  const found: Descriptor[] = [];
  const max = one ? 1 : DESCRIPTORS_MAX;
  /** False when there is room for no further descriptor. */
  const add = (bytes: number, flags: number): boolean => {
    const last = found.at(-1);
    if (last && last.flags === flags) last.length += bytes;
    else if (found.length === max) return false;
    else found.push({ length: bytes, flags });
    return true;
  };
  const end = offset + length;
  let scanned = 0;
  let at = offset;
  while (at < end) {
    const extent = reader.map.extentAt(at, end);
    if (extent.state === 'unknown' && scan) {
      const bytes = Math.min(extent.end - at, SCAN_STEP_BYTES);
      if (scanned + bytes > SCAN_MAX_BYTES) break;
      scanned += bytes;
      if (!scanZeros(reader, at, bytes, add)) break;
      at += bytes;
    } else {
      if (!add(extent.end - at, extent.state === 'free' ? ZERO : DATA)) break;
      at = extent.end;
    }
  }
  return found;
}

function scanZeros(
  reader: DiskReader,
  offset: number,
  bytes: number,
  add: (bytes: number, flags: number) => boolean,
): boolean {
  const start = reader.fill(offset, bytes);
  let at = start;
  for (const run of zeroRuns(reader.memory, start, bytes, SCAN_GRAIN_BYTES, offset)) {
    if (run.start > at && !add(run.start - at, DATA)) return false;
    if (!add(run.end - run.start, ZERO)) return false;
    at = run.end;
  }
  return at === start + bytes || add(start + bytes - at, DATA);
}
