/** What the threads of one verification share. */
import type { WireError } from '../../appliance/api/errors.ts';
import type { TargetSpec } from '../target/target.ts';
import type { PaceShared } from './pace.ts';
import type { Plan } from './plan.ts';

/** The work of verify-worker.ts. */
export interface VerifyWork {
  disks: readonly { disk: string; target: TargetSpec; plan: Plan }[];
  /** Of `threads`, this is number `thread`: it audits every so manieth part of what lies outside of the blocks. */
  thread: number;
  threads: number;
  /** Holes are read in full, instead of by samples. */
  fullHoles: boolean;
  counters: SharedArrayBuffer;
  flags: SharedArrayBuffer;
  pace: PaceShared;
}

export type VerifyReport = { kind: 'done' } | { kind: 'failed'; error: WireError };

/** Indices of the counters of bytes checked and of bytes of holes audited. */
const CHECKED_BYTES = 0;
const HOLE_BYTES = 1;
/** Each disk then has two: the next block to take, and the blocks checked. */
const DISKS = 2;

/** Counters in shared memory, used by any thread. */
export class VerifyCounters {
  readonly shared: SharedArrayBuffer;
  readonly #values: BigInt64Array<SharedArrayBuffer>;

  constructor(disks: number, shared: SharedArrayBuffer = new SharedArrayBuffer(8 * (DISKS + 2 * disks))) {
    this.shared = shared;
    this.#values = new BigInt64Array(shared);
  }

  /** The next block of a disk; may be beyond its last. */
  take(disk: number): number {
    return Number(Atomics.add(this.#values, DISKS + 2 * disk, 1n));
  }

  checked(disk: number, bytes: number): void {
    Atomics.add(this.#values, CHECKED_BYTES, BigInt(bytes));
    Atomics.add(this.#values, DISKS + 2 * disk + 1, 1n);
  }

  /** So many bytes of a hole were read in full or by a sample. */
  audited(bytes: number): void {
    Atomics.add(this.#values, HOLE_BYTES, BigInt(bytes));
  }

  get holeBytes(): number {
    return Number(Atomics.load(this.#values, HOLE_BYTES));
  }

  get checkedBytes(): number {
    return Number(Atomics.load(this.#values, CHECKED_BYTES));
  }

  checkedBlocks(disk: number): number {
    return Number(Atomics.load(this.#values, DISKS + 2 * disk + 1));
  }
}
