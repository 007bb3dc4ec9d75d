/** Who copies which piece, and how far it all is: the state that the threads of one disk's copy share. */
import { DONE, PENDING, type Plan } from './plan.ts';

const NEXT = 0;
const RETURNED = 1;
const DONE_PIECES = 2;
const COPIED = 3;
const ZEROS = 4;
const FLUSHED = 5;
const UNFLUSHED = 6;
const HOLES = 7;
const COUNTERS = 8;

/** Written bytes after which somebody flushes, so that not all of a large copy is at stake, bytes. */
export const FLUSH_EVERY_BYTES = 512 * 1024 * 1024;

/** What a thread needs to join in. */
export interface BoardShared {
  plan: Plan;
  counters: SharedArrayBuffer;
}

/** One disk's board. Every method may be called by any thread. */
export class Board {
  readonly plan: Plan;
  readonly shared: BoardShared;
  readonly #counters: BigInt64Array;

  constructor(shared: BoardShared) {
    this.shared = shared;
    this.plan = shared.plan;
    this.#counters = new BigInt64Array(shared.counters);
  }

  static create(plan: Plan): Board {
    return new Board({ plan, counters: new SharedArrayBuffer(COUNTERS * 8) });
  }

  #get(index: number): number {
    return Number(Atomics.load(this.#counters, index));
  }

  #add(index: number, amount: number): number {
    return Number(Atomics.add(this.#counters, index, BigInt(amount)));
  }

  /** A piece for this worker (1 to 8), or undefined when none is left to take. */
  take(worker: number): number | undefined {
    while (this.#get(NEXT) < this.plan.count) {
      const piece = this.#add(NEXT, 1);
      if (piece < this.plan.count && this.#claim(piece, worker)) return piece;
    }
    if (this.#get(RETURNED) <= 0) return undefined;
    // Pieces that a broken connection gave back: few, and seldom.
    for (let piece = 0; piece < this.plan.count; piece++) {
      if (Atomics.load(this.plan.states, piece) === PENDING && this.#claim(piece, worker)) {
        this.#add(RETURNED, -1);
        return piece;
      }
    }
    return undefined;
  }

  #claim(piece: number, worker: number): boolean {
    return Atomics.compareExchange(this.plan.states, piece, PENDING, worker) === PENDING;
  }

  /** Gives back all that this worker has: its connection broke, or it died. */
  giveBack(worker: number): void {
    for (let piece = 0; piece < this.plan.count; piece++) {
      if (Atomics.compareExchange(this.plan.states, piece, worker, PENDING) === worker) this.#add(RETURNED, 1);
    }
  }

  /** The piece is written and its hash stands in the plan. Returns true when it is time to flush. */
  done(piece: number, zeroBytes: number): boolean {
    Atomics.store(this.plan.states, piece, DONE);
    this.#add(ZEROS, zeroBytes);
    this.#add(COPIED, this.plan.used[piece] ?? 0);
    this.#add(DONE_PIECES, 1);
    const length = this.plan.lengths[piece] ?? 0;
    const before = this.#add(UNFLUSHED, length);
    return Math.floor(before / FLUSH_EVERY_BYTES) !== Math.floor((before + length) / FLUSH_EVERY_BYTES);
  }

  /** So many bytes outside of the pieces are zeroed. */
  holeZeroed(bytes: number): void {
    this.#add(HOLES, bytes);
  }

  /** Runs `flush`; what was copied before it began counts as flushed when it returns, and not when it throws. */
  flush(flush: () => void): void {
    const copied = this.#get(COPIED);
    flush();
    for (;;) {
      const flushed = this.#get(FLUSHED);
      if (flushed >= copied) return;
      if (Number(Atomics.compareExchange(this.#counters, FLUSHED, BigInt(flushed), BigInt(copied))) === flushed) return;
    }
  }

  get complete(): boolean {
    return this.#get(DONE_PIECES) === this.plan.count;
  }

  /** Can a worker still take a piece? */
  get open(): boolean {
    return this.#get(NEXT) < this.plan.count || this.#get(RETURNED) > 0;
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
    return this.#get(FLUSHED);
  }
}
