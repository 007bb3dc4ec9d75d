/** What the threads of one verification share. */
import type { WireError } from '../../appliance/api/errors.ts';
import type { TargetSpec } from '../target/target.ts';
import type { Plan } from './plan.ts';

/** workerData of verify-worker.ts. */
export interface VerifyWork {
  disks: readonly { disk: string; target: TargetSpec; plan: Plan }[];
  /** One of the threads also audits what lies outside of the pieces. */
  audits: boolean;
  counters: SharedArrayBuffer;
  flags: SharedArrayBuffer;
}

export type VerifyReport = { kind: 'done' } | { kind: 'failed'; error: WireError };

/** Index of the counter of bytes checked; each disk then has two: the next piece to take, and the pieces checked. */
const CHECKED_BYTES = 0;

/** Counters in shared memory, used by any thread. */
export class VerifyCounters {
  readonly shared: SharedArrayBuffer;
  readonly #values: BigInt64Array<SharedArrayBuffer>;

  constructor(disks: number, shared: SharedArrayBuffer = new SharedArrayBuffer(8 * (1 + 2 * disks))) {
    this.shared = shared;
    this.#values = new BigInt64Array(shared);
  }

  /** The next piece of a disk; may be beyond its last. */
  take(disk: number): number {
    return Number(Atomics.add(this.#values, 1 + 2 * disk, 1n));
  }

  checked(disk: number, bytes: number): void {
    Atomics.add(this.#values, CHECKED_BYTES, BigInt(bytes));
    Atomics.add(this.#values, 2 + 2 * disk, 1n);
  }

  get checkedBytes(): number {
    return Number(Atomics.load(this.#values, CHECKED_BYTES));
  }

  checkedPieces(disk: number): number {
    return Number(Atomics.load(this.#values, 2 + 2 * disk));
  }
}
