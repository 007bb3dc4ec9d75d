/** Who copies which block, and how far it all is: the state that the threads of one disk's copy share. */
import { RehostError } from '../../appliance/api/errors.ts';
import { REHOST_HASH_BYTES } from '../../appliance/api/nbd.ts';
import { BAD_RANGES_MAX } from '../../appliance/api/transfer.ts';
import { FLUSHED, FLUSHING, PENDING, type Plan, TAINTED, WORKER, WRITTEN } from './plan.ts';

/** Counters of blocks. */
const NEXT = 0;
const OPEN = 1;
const LEFT = 2;
/** Unreadable ranges that were noted, and reads that were tried again. */
const BAD = 3;
const RETRIES = 4;
/** Failed writes and flushes. */
const FAILURES = 5;
const BLOCK_COUNTERS = 6;
/** Counters of bytes. */
const COPIED = 0;
const ZEROS = 1;
const FLUSHED_BYTES = 2;
const HOLES = 3;
const BYTE_COUNTERS = 4;

/** What a thread needs to join in. */
export interface BoardShared {
  plan: Plan;
  blocks: SharedArrayBuffer;
  bytes: SharedArrayBuffer;
  /** Pairs of offset and length, as many as BAD counts. */
  bad: SharedArrayBuffer;
}

/** One disk's board. Every method may be called by any thread, but flushes are one thread's. */
export class Board {
  readonly plan: Plan;
  readonly shared: BoardShared;
  readonly #blocks: Int32Array<SharedArrayBuffer>;
  readonly #bytes: BigInt64Array<SharedArrayBuffer>;
  readonly #bad: Float64Array<SharedArrayBuffer>;

  constructor(shared: BoardShared) {
    this.shared = shared;
    this.plan = shared.plan;
    this.#blocks = new Int32Array(shared.blocks);
    this.#bytes = new BigInt64Array(shared.bytes);
    this.#bad = new Float64Array(shared.bad);
  }

  /** What the plan has as FLUSHED counts as copied: an earlier attempt did it. */
  static create(plan: Plan): Board {
    const board = new Board({
      plan,
      blocks: new SharedArrayBuffer(BLOCK_COUNTERS * 4),
      bytes: new SharedArrayBuffer(BYTE_COUNTERS * 8),
      bad: new SharedArrayBuffer(2 * BAD_RANGES_MAX * 8),
    });
    for (let block = 0; block < plan.count; block++) {
      const state = plan.states[block];
      if (state === PENDING) board.#blocks[OPEN] = (board.#blocks[OPEN] ?? 0) + 1;
      else if (state === FLUSHED) {
        board.#add(COPIED, plan.used[block] ?? 0);
        board.#add(FLUSHED_BYTES, plan.used[block] ?? 0);
      }
    }
    board.#blocks[LEFT] = board.#blocks[OPEN] ?? 0;
    return board;
  }

  #get(counter: number): number {
    return Number(Atomics.load(this.#bytes, counter));
  }

  #add(counter: number, amount: number): void {
    Atomics.add(this.#bytes, counter, BigInt(amount));
  }

  /** A block for this worker (1 to 8), or undefined when none is left to take. */
  take(worker: number): number | undefined {
    // Those behind NEXT are few: a broken connection gave them back, or a flush failed.
    for (let round = 0; round < 2 && this.open; round++) {
      for (;;) {
        const block = Atomics.add(this.#blocks, NEXT, 1);
        if (block >= this.plan.count) break;
        if (this.#claim(block, worker)) return block;
      }
      Atomics.store(this.#blocks, NEXT, 0);
    }
    return undefined;
  }

  #claim(block: number, worker: number): boolean {
    if (this.plan.states[block] !== PENDING) return false;
    if (Atomics.compareExchange(this.plan.states, block, PENDING, WORKER + worker) !== PENDING) return false;
    Atomics.sub(this.#blocks, OPEN, 1);
    return true;
  }

  /** Gives back all that this worker has: its connection broke, or it died. */
  giveBack(worker: number): void {
    for (let block = 0; block < this.plan.count; block++) {
      const state = this.plan.states[block];
      if (state !== WORKER + worker && state !== TAINTED + worker) continue;
      // Nobody but another's `distrust` changes it meanwhile, and that leaves it this worker's.
      Atomics.store(this.plan.states, block, PENDING);
      Atomics.add(this.#blocks, OPEN, 1);
    }
  }

  /** The block is written; if a failure fell into that, it is open again. */
  done(block: number, hash: Uint8Array, zeroBytes: number): void {
    this.plan.hashes.set(hash, block * REHOST_HASH_BYTES);
    const state = Atomics.load(this.plan.states, block);
    const tainted = state > TAINTED && state < WRITTEN;
    if (tainted || Atomics.compareExchange(this.plan.states, block, state, WRITTEN) !== state) {
      Atomics.store(this.plan.states, block, PENDING);
      Atomics.add(this.#blocks, OPEN, 1);
      return;
    }
    this.#add(ZEROS, zeroBytes);
    this.#add(COPIED, this.plan.used[block] ?? 0);
    Atomics.sub(this.#blocks, LEFT, 1);
  }

  /**
   * Notes a range that the source could not read, before the block that has it is `done`: whoever records the block finds it noted.
   * SOURCE_READ_FAILED when there are more than BAD_RANGES_MAX.
   */
  noteBad(offset: number, length: number): void {
    for (const [known, bytes] of this.badRanges()) if (known === offset && bytes === length) return;
    const index = Atomics.add(this.#blocks, BAD, 1);
    if (index >= BAD_RANGES_MAX) {
      throw new RehostError(
        'SOURCE_READ_FAILED',
        `The source cannot read more than ${BAD_RANGES_MAX} ranges; the last at ${offset}.`,
      );
    }
    this.#bad[2 * index] = offset;
    this.#bad[2 * index + 1] = length;
  }

  /** Ranges that were noted, in order. */
  badRanges(): [number, number][] {
    const count = Math.min(BAD_RANGES_MAX, Atomics.load(this.#blocks, BAD));
    const ranges = Array.from({ length: count }, (_, i): [number, number] => [
      this.#bad[2 * i] ?? 0,
      this.#bad[2 * i + 1] ?? 0,
    ]);
    // One whose length is not there yet belongs to a block that is not done.
    return ranges.filter(([, length]) => length > 0).sort(([a], [b]) => a - b);
  }

  retried(): void {
    Atomics.add(this.#blocks, RETRIES, 1);
  }

  get retries(): number {
    return Atomics.load(this.#blocks, RETRIES);
  }

  /** So many bytes outside of the blocks in use are zeroed. */
  holeZeroed(bytes: number): void {
    this.#add(HOLES, bytes);
  }

  /**
   * Runs `flush`, and `record` with the blocks that it covers: those that were written before it began. They count as flushed when
   * both have returned. When one throws they are WRITTEN as before; when a write failed anywhere while the flush ran they are open again,
   * as nobody knows whether the failure was of something that the flush was to bring. Returns how many there were.
   */
  flush(flush: () => void, record: (blocks: readonly number[]) => void): number {
    const blocks: number[] = [];
    const { failures } = this;
    for (let block = 0; block < this.plan.count; block++) {
      if (this.plan.states[block] !== WRITTEN) continue;
      if (Atomics.compareExchange(this.plan.states, block, WRITTEN, FLUSHING) === WRITTEN) blocks.push(block);
    }
    try {
      flush();
      if (this.failures !== failures) {
        for (const block of blocks) this.#reopen(block, FLUSHING);
        return 0;
      }
      record(blocks);
    } catch (error) {
      for (const block of blocks) Atomics.store(this.plan.states, block, WRITTEN);
      throw error;
    }
    let bytes = 0;
    for (const block of blocks) {
      Atomics.store(this.plan.states, block, FLUSHED);
      bytes += this.plan.used[block] ?? 0;
    }
    this.#add(FLUSHED_BYTES, bytes);
    return blocks.length;
  }

  /**
   * A write or flush failed: what was written since the last good flush is not to be believed, and is copied again; also what is there
   * already of the blocks that workers have.
   */
  distrust(): void {
    Atomics.add(this.#blocks, FAILURES, 1);
    for (let block = 0; block < this.plan.count; block++) {
      const state = this.plan.states[block] ?? PENDING;
      if (state > WORKER && state < TAINTED) {
        Atomics.compareExchange(this.plan.states, block, state, state - WORKER + TAINTED);
      }
      // Also one that was finished just now.
      this.#reopen(block, WRITTEN);
    }
  }

  /** A block that was copied is to be copied again, if it is in that state. */
  #reopen(block: number, state: number): void {
    if (Atomics.compareExchange(this.plan.states, block, state, PENDING) !== state) return;
    this.#add(COPIED, -(this.plan.used[block] ?? 0));
    Atomics.add(this.#blocks, LEFT, 1);
    Atomics.add(this.#blocks, OPEN, 1);
  }

  /** How often a write or flush has failed: what was begun before the last one may be lost. */
  get failures(): number {
    return Atomics.load(this.#blocks, FAILURES);
  }

  /** Is every block written? */
  get complete(): boolean {
    return Atomics.load(this.#blocks, LEFT) === 0;
  }

  /** Can a worker still take a block? */
  get open(): boolean {
    return Atomics.load(this.#blocks, OPEN) > 0;
  }

  get copiedBytes(): number {
    return this.#get(COPIED);
  }

  get zeroBytes(): number {
    return this.#get(ZEROS);
  }

  get holeBytes(): number {
    return this.#get(HOLES);
  }

  get flushedBytes(): number {
    return this.#get(FLUSHED_BYTES);
  }
}
