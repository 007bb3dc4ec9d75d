/** What is to be copied of one disk: its blocks, in memory that threads share. 21 bytes for each block of 4 MiB, touched only where used. */

import { blockCount } from '../../appliance/api/journal.ts';
import { REHOST_HASH_BYTES } from '../../appliance/api/nbd.ts';
import { BLOCK_BYTES } from '../../appliance/api/transfer.ts';

/** What is written or zeroed begins and ends at multiples of this, except at the disk's end: the largest sector there is, bytes. */
export const ALIGN_BYTES = 4096;

/** One disk's blocks. All arrays are shared, one entry for each block; `used` does not change. */
export interface Plan {
  /** Of the source's disk. */
  sizeBytes: number;
  /** Of the replica, which may be larger. */
  roomBytes: number;
  /** Blocks of the disk. */
  count: number;
  /** Of them: those with anything in use. */
  usedBlocks: number;
  /** Bytes in use by the source's map. */
  usedBytes: number;
  used: Uint32Array<SharedArrayBuffer>;
  /** FREE, PENDING, WRITTEN, FLUSHING, FLUSHED, or WORKER + the number of the worker that has it (1 to 8). */
  states: Uint8Array<SharedArrayBuffer>;
  /** REHOST_HASH_BYTES for each block, valid from WRITTEN on. */
  hashes: Uint8Array<SharedArrayBuffer>;
}

/** Nothing of it is in use: it is to read as zeros. */
export const FREE = 0;
export const PENDING = 1;
export const WORKER = 100;
/** On the target, but not yet covered by a flush. */
export const WRITTEN = 200;
/** A flush that covers it runs. */
export const FLUSHING = 201;
/** On stable storage, and in the journal where there is one. */
export const FLUSHED = 255;

/** A plan in which nothing is in use yet. */
function emptyPlan(sizeBytes: number, roomBytes: number): Plan {
  const count = blockCount(sizeBytes);
  return {
    sizeBytes,
    roomBytes,
    count,
    usedBlocks: 0,
    usedBytes: 0,
    used: new Uint32Array(new SharedArrayBuffer(count * 4)),
    states: new Uint8Array(new SharedArrayBuffer(count)),
    hashes: new Uint8Array(new SharedArrayBuffer(count * REHOST_HASH_BYTES)),
  };
}

/** The plan for used ranges (UsedRanges.finish) of a disk whose replica has `roomBytes`. */
export function makePlan(sizeBytes: number, ranges: Float64Array, roomBytes: number = sizeBytes): Plan {
  const plan = emptyPlan(sizeBytes, roomBytes);
  for (let i = 0; i + 1 < ranges.length; i += 2) {
    const stop = ranges[i + 1] ?? 0;
    for (let at = ranges[i] ?? 0; at < stop; ) {
      const block = Math.floor(at / BLOCK_BYTES);
      const cut = Math.min(stop, (block + 1) * BLOCK_BYTES);
      plan.used[block] = (plan.used[block] ?? 0) + cut - at;
      plan.usedBytes += cut - at;
      at = cut;
    }
  }
  for (let block = 0; block < plan.count; block++) {
    if (plan.used[block] === 0) continue;
    plan.states[block] = PENDING;
    plan.usedBlocks++;
  }
  return plan;
}

/** Marks blocks that have a hash in a journal's list as FLUSHED, with that hash. Returns how many. */
export function takeFromList(plan: Plan, list: Uint8Array): number {
  let taken = 0;
  for (let block = 0; block < plan.count; block++) {
    const at = block * REHOST_HASH_BYTES;
    const hash = list.subarray(at, at + REHOST_HASH_BYTES);
    if (hash.every((byte) => byte === 0)) continue;
    if (plan.used[block] === 0) {
      // The map may call free what an earlier one called used: what was copied stays, and is verified.
      plan.used[block] = blockLength(plan, block);
      plan.usedBytes += blockLength(plan, block);
      plan.usedBlocks++;
    }
    plan.states[block] = FLUSHED;
    plan.hashes.set(hash, at);
    taken++;
  }
  return taken;
}

/** The plan of a copy that is done, by the journal's list alone. */
export function planFromList(sizeBytes: number, list: Uint8Array, roomBytes: number = sizeBytes): Plan {
  const plan = emptyPlan(sizeBytes, roomBytes);
  takeFromList(plan, list);
  return plan;
}

/** Length of a block, bytes: BLOCK_BYTES but for the last. */
export function blockLength(plan: Plan, block: number): number {
  return Math.min(BLOCK_BYTES, plan.sizeBytes - block * BLOCK_BYTES);
}

/** The hash of a block, in the plan's own memory. */
export function hashOf(plan: Plan, block: number): Uint8Array {
  return plan.hashes.subarray(block * REHOST_HASH_BYTES, (block + 1) * REHOST_HASH_BYTES);
}

/** Visits what no block in use covers of the replica, in order, with what lies behind the disk's end. */
export function eachHole(plan: Plan, visit: (start: number, end: number) => void): void {
  let start = -1;
  for (let block = 0; block < plan.count; block++) {
    const free = plan.states[block] === FREE;
    if (free && start < 0) start = block * BLOCK_BYTES;
    if (!free && start >= 0) {
      visit(start, block * BLOCK_BYTES);
      start = -1;
    }
  }
  if (start < 0) start = plan.sizeBytes;
  if (start < plan.roomBytes) visit(start, plan.roomBytes);
}
