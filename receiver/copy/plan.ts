/** What is to be copied of one disk: its blocks in use, in memory that threads share. 25 bytes for each block of 4 MiB; free ones cost nothing. */

import { REHOST_HASH_BYTES } from '../../appliance/api/nbd.ts';
import { BLOCK_BYTES } from '../../appliance/api/transfer.ts';

/** What is written or zeroed begins and ends at multiples of this, except at the disk's end: the largest sector there is, bytes. */
export const ALIGN_BYTES = 4096;

/**
 * One disk's blocks in use, in the order of the disk. All arrays are shared and have an entry for each of them; which block entry i is
 * stands in `numbers`. `numbers` and `used` do not change.
 */
export interface Plan {
  /** Of the source's disk. */
  sizeBytes: number;
  /** Of the replica, which may be larger. */
  roomBytes: number;
  /** Blocks in use. */
  count: number;
  /** Bytes in use by the source's map. */
  usedBytes: number;
  /** Block i begins at numbers[i] * BLOCK_BYTES. */
  numbers: Uint32Array<SharedArrayBuffer>;
  /** Bytes in use of each. */
  used: Uint32Array<SharedArrayBuffer>;
  /** PENDING, WRITTEN, FLUSHING, FLUSHED, or WORKER or TAINTED + the number of the worker that has it (1 to 8). */
  states: Uint8Array<SharedArrayBuffer>;
  /** REHOST_HASH_BYTES for each, valid from WRITTEN on. */
  hashes: Uint8Array<SharedArrayBuffer>;
}

export const PENDING = 1;
export const WORKER = 100;
/** In place of WORKER: what is there of the block is not to be believed any longer; it is begun anew when its worker is done with it. */
export const TAINTED = 150;
/** On the target, but not yet covered by a flush. */
export const WRITTEN = 200;
/** A flush that covers it runs. */
export const FLUSHING = 201;
/** On stable storage, and in the journal where there is one. */
export const FLUSHED = 255;

const NOTHING = new Float64Array(0);
const EMPTY = new Uint8Array(0);

/**
 * The plan for used ranges (UsedRanges.finish) of a disk whose replica has `roomBytes`. Blocks that have a hash in a journal's `list` are
 * FLUSHED, with that hash, also where the map calls them free by now: what was copied stays, and is verified.
 */
export function makePlan(
  sizeBytes: number,
  ranges: Float64Array,
  roomBytes: number = sizeBytes,
  list: Uint8Array = EMPTY,
): Plan {
  let count = 0;
  eachBlock(ranges, list, () => {
    count++;
  });
  const plan: Plan = {
    sizeBytes,
    roomBytes,
    count,
    usedBytes: 0,
    numbers: new Uint32Array(new SharedArrayBuffer(count * 4)),
    used: new Uint32Array(new SharedArrayBuffer(count * 4)),
    states: new Uint8Array(new SharedArrayBuffer(count)),
    hashes: new Uint8Array(new SharedArrayBuffer(count * REHOST_HASH_BYTES)),
  };
  let index = 0;
  eachBlock(ranges, list, (number, used) => {
    plan.numbers[index] = number;
    const bytes = used === 0 ? blockLength(plan, index) : used;
    plan.used[index] = bytes;
    plan.usedBytes += bytes;
    const recorded = isRecorded(list, number);
    plan.states[index] = recorded ? FLUSHED : PENDING;
    if (recorded) plan.hashes.set(hashInList(list, number), index * REHOST_HASH_BYTES);
    index++;
  });
  return plan;
}

/** The plan of a copy that is done, by the journal's list alone. */
export function planFromList(sizeBytes: number, list: Uint8Array, roomBytes: number = sizeBytes): Plan {
  return makePlan(sizeBytes, NOTHING, roomBytes, list);
}

/** Visits the blocks that ranges or list name, in order, with the bytes that the ranges use of them. */
function eachBlock(ranges: Float64Array, list: Uint8Array, visit: (number: number, used: number) => void): void {
  const listed = list.length / REHOST_HASH_BYTES;
  let next = 0;
  /** Blocks of the list alone, before block `end`. */
  const skipTo = (end: number): void => {
    for (; next < Math.min(end, listed); next++) if (isRecorded(list, next)) visit(next, 0);
    next = Math.max(next, end);
  };
  let number = -1;
  let used = 0;
  const close = (): void => {
    if (number < 0) return;
    skipTo(number);
    visit(number, used);
    next = number + 1;
  };
  for (let i = 0; i + 1 < ranges.length; i += 2) {
    const stop = ranges[i + 1] ?? 0;
    for (let at = ranges[i] ?? 0; at < stop; ) {
      const block = Math.floor(at / BLOCK_BYTES);
      if (block !== number) {
        close();
        number = block;
        used = 0;
      }
      const cut = Math.min(stop, (block + 1) * BLOCK_BYTES);
      used += cut - at;
      at = cut;
    }
  }
  close();
  skipTo(listed);
}

function hashInList(list: Uint8Array, number: number): Uint8Array {
  return list.subarray(number * REHOST_HASH_BYTES, (number + 1) * REHOST_HASH_BYTES);
}

function isRecorded(list: Uint8Array, number: number): boolean {
  // Asked millions of times on large disks: without a view for each.
  const start = number * REHOST_HASH_BYTES;
  for (let at = start; at < start + REHOST_HASH_BYTES; at++) if ((list[at] ?? 0) !== 0) return true;
  return false;
}

/** Where block `index` of the plan begins, bytes. */
export function blockOffset(plan: Plan, index: number): number {
  return (plan.numbers[index] ?? 0) * BLOCK_BYTES;
}

/** Length of block `index` of the plan, bytes: BLOCK_BYTES but for the disk's last. */
export function blockLength(plan: Plan, index: number): number {
  return Math.min(BLOCK_BYTES, plan.sizeBytes - blockOffset(plan, index));
}

/** The hash of block `index` of the plan, in the plan's own memory. */
export function hashOf(plan: Plan, index: number): Uint8Array {
  return plan.hashes.subarray(index * REHOST_HASH_BYTES, (index + 1) * REHOST_HASH_BYTES);
}

/** Index of the first block whose number is at least `number`; the count when there is none. */
export function firstFrom(plan: Plan, number: number): number {
  let low = 0;
  let high = plan.count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((plan.numbers[middle] ?? 0) < number) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Visits what no block in use covers of the replica, in order, with what lies behind the disk's end. */
export function eachHole(plan: Plan, visit: (start: number, end: number) => void): void {
  let at = 0;
  for (let index = 0; index < plan.count; index++) {
    const start = blockOffset(plan, index);
    if (start > at) visit(at, start);
    at = start + blockLength(plan, index);
  }
  if (at < plan.roomBytes) visit(at, plan.roomBytes);
}
