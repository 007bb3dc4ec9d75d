/** What is to be copied of one disk: pieces of used ranges, in memory that threads share. 33 bytes for each piece of at most 1 MiB. */

import { REHOST_HASH_BYTES } from '../../appliance/api/nbd.ts';
import { PIECE_BYTES } from '../../appliance/api/transfer.ts';

/** Pieces begin and end at multiples of this, except at the disk's end: the largest sector there is, bytes. */
export const ALIGN_BYTES = 4096;
/** A gap of at least this inside of a piece's cell ends the piece, bytes. Shorter gaps are read along: the source answers them as holes. */
const GAP_BYTES = 256 * 1024;

/** One disk's pieces. All arrays are shared; `offsets`, `lengths` and `used` do not change. */
export interface Plan {
  /** Of the source's disk. */
  sizeBytes: number;
  /** Of the replica, which may be larger. */
  roomBytes: number;
  count: number;
  /** Bytes in use by the source's map. */
  usedBytes: number;
  offsets: Float64Array<SharedArrayBuffer>;
  lengths: Uint32Array<SharedArrayBuffer>;
  /** Bytes in use within each piece. */
  used: Uint32Array<SharedArrayBuffer>;
  /** PENDING, DONE, or the number of the worker that has it (1 to 8). */
  states: Uint8Array<SharedArrayBuffer>;
  /** REHOST_HASH_BYTES for each piece, valid once it is DONE. */
  hashes: Uint8Array<SharedArrayBuffer>;
}

export const PENDING = 0;
export const DONE = 255;

/** Ranges that are kept apart; a source more fragmented than this has its further gaps copied along. 16 MiB. */
const RANGES_MAX = 1024 * 1024;

/** Collects used ranges in ascending order, rounded outwards to ALIGN_BYTES and joined where they touch. */
export class UsedRanges {
  readonly #sizeBytes: number;
  #pairs = new Float64Array(2 * 1024);
  #count = 0;

  constructor(sizeBytes: number) {
    this.#sizeBytes = sizeBytes;
  }

  /** Adds [start, end), bytes, 0 <= start < end <= size. */
  add(start: number, end: number): void {
    const from = start - (start % ALIGN_BYTES);
    const to = Math.min(this.#sizeBytes, Math.ceil(end / ALIGN_BYTES) * ALIGN_BYTES);
    const last = this.#count === 0 ? -1 : (this.#pairs[2 * this.#count - 1] ?? -1);
    if (this.#count > 0 && (from <= last || this.#count === RANGES_MAX)) {
      this.#pairs[2 * this.#count - 1] = Math.max(last, to);
      return;
    }
    if (2 * this.#count === this.#pairs.length) {
      const larger = new Float64Array(2 * this.#pairs.length);
      larger.set(this.#pairs);
      this.#pairs = larger;
    }
    this.#pairs[2 * this.#count] = from;
    this.#pairs[2 * this.#count + 1] = to;
    this.#count++;
  }

  /** Pairs of start and end, bytes. */
  finish(): Float64Array {
    return this.#pairs.slice(0, 2 * this.#count);
  }
}

/** Visits the pieces of aligned ranges: cut on a grid of PIECE_BYTES, close ranges of one cell together. */
function eachPiece(ranges: Float64Array, visit: (offset: number, length: number, used: number) => void): void {
  let start = -1;
  let end = -1;
  let used = 0;
  for (let i = 0; i + 1 < ranges.length; i += 2) {
    const stop = ranges[i + 1] ?? 0;
    for (let at = ranges[i] ?? 0; at < stop; ) {
      const cell = Math.floor(at / PIECE_BYTES);
      const cut = Math.min(stop, (cell + 1) * PIECE_BYTES);
      if (start < 0 || Math.floor(start / PIECE_BYTES) !== cell || at - end >= GAP_BYTES) {
        if (start >= 0) visit(start, end - start, used);
        start = at;
        used = 0;
      }
      end = cut;
      used += cut - at;
      at = cut;
    }
  }
  if (start >= 0) visit(start, end - start, used);
}

/** The plan for used ranges (UsedRanges.finish) of a disk whose replica has `roomBytes`. */
export function makePlan(sizeBytes: number, ranges: Float64Array, roomBytes: number = sizeBytes): Plan {
  let count = 0;
  let usedBytes = 0;
  eachPiece(ranges, (_offset, _length, used) => {
    count++;
    usedBytes += used;
  });
  const plan: Plan = {
    sizeBytes,
    roomBytes,
    count,
    usedBytes,
    offsets: new Float64Array(new SharedArrayBuffer(count * 8)),
    lengths: new Uint32Array(new SharedArrayBuffer(count * 4)),
    used: new Uint32Array(new SharedArrayBuffer(count * 4)),
    states: new Uint8Array(new SharedArrayBuffer(count)),
    hashes: new Uint8Array(new SharedArrayBuffer(count * REHOST_HASH_BYTES)),
  };
  let index = 0;
  eachPiece(ranges, (offset, length, used) => {
    plan.offsets[index] = offset;
    plan.lengths[index] = length;
    plan.used[index] = used;
    index++;
  });
  return plan;
}

/** Visits what no piece covers of the replica, in order, with what lies behind the disk's end. */
export function eachHole(plan: Plan, visit: (start: number, end: number) => void): void {
  let at = 0;
  for (let i = 0; i < plan.count; i++) {
    const start = plan.offsets[i] ?? 0;
    if (start > at) visit(at, start);
    at = start + (plan.lengths[i] ?? 0);
  }
  if (at < plan.roomBytes) visit(at, plan.roomBytes);
}
