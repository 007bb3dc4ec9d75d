/** What one disk's target needs beside the blocks: zeros outside of them, flushes, and the journal of what these cover. Blocking. */
import { RehostError, toWire } from '../../appliance/api/errors.ts';
import type { Target } from '../target/target.ts';
import { Board } from './board.ts';
import type { Journal } from './journal.ts';
import type { Pace } from './pace.ts';
import { eachHole } from './plan.ts';
import { connectionError, type SessionFlags, Stopped, type TargetCommand, type TargetReport } from './shared.ts';

/** One call zeroes at most this, so that the order to stop is seen between two, bytes. */
const ZERO_STEP_BYTES = 1024 ** 3;
/** After a flush that found no room, ms: somebody has to make some first. It doubles up to the second figure. */
const ROOM_WAIT_MS = 5_000;
const ROOM_WAIT_MAX_MS = 60_000;

export type Order = Exclude<TargetCommand, { kind: 'end' }>;

export interface TenderParts {
  target: Target;
  journal: Journal | undefined;
  flags: SessionFlags;
  pace: Pace;
  /** Of the present snapshot, as the agent names its time. */
  snapshot: string;
  flushEveryMs: number;
}

/** Owned by one thread; all parts stay the caller's. */
export class Tender {
  readonly #parts: TenderParts;
  #roomWaitMs = ROOM_WAIT_MS;

  constructor(parts: TenderParts) {
    this.#parts = parts;
  }

  /** Does as told; what goes wrong is in the report. Once the session has stopped nothing is done any more. */
  obey(order: Order): TargetReport {
    const { flags } = this.#parts;
    try {
      // A flush that waited in line behind one that failed would succeed, and speak for what is lost.
      flags.check();
      return this.#do(order);
    } catch (error) {
      return this.#failed(order, error);
    }
  }

  #do({ kind, board: shared }: Order): TargetReport {
    const board = new Board(shared);
    switch (kind) {
      case 'zero-holes':
        this.#zeroHoles(board);
        return { kind: 'zeroed' };
      case 'flush':
        this.#flush(board);
        return { kind: 'flushed' };
      case 'compared':
        this.#parts.journal?.note({ snapshot: this.#parts.snapshot });
        return { kind: 'noted' };
    }
  }

  #failed(order: Order, error: unknown): TargetReport {
    if (error instanceof Stopped) return { kind: 'fatal', error: connectionError(error) };
    const full = error instanceof RehostError && error.code === 'POOL_FULL';
    if (!full && !(error instanceof RehostError && error.code === 'TARGET_WRITE_FAILED'))
      return { kind: 'fatal', error: toWire(error) };
    // Here and now, before anything else: the kernel tells a failure once.
    new Board(order.board).distrust();
    if (full) this.#awaitRoom();
    return { kind: 'write-failed', command: order.kind, error: toWire(error) };
  }

  /** Connections stand still meanwhile: what they would bring is not to be believed until a flush has succeeded. */
  #awaitRoom(): void {
    const { pace, flags } = this.#parts;
    try {
      pace.holdForRoom(this.#roomWaitMs, () => flags.check());
    } catch (error) {
      // The failure is told all the same.
      if (!(error instanceof Stopped)) throw error;
    }
    this.#roomWaitMs = Math.min(ROOM_WAIT_MAX_MS, 2 * this.#roomWaitMs);
  }

  /** Bad ranges first: a block that has one is never in the journal without it. */
  #flush(board: Board): void {
    const { target, journal } = this.#parts;
    board.flush(
      () => target.flush(),
      (blocks) => {
        if (!journal || blocks.length === 0) return;
        const bad = board.badRanges().flat();
        if (bad.length !== journal.notes.bad.length) journal.note({ bad });
        journal.record(board.plan, blocks);
      },
    );
    this.#roomWaitMs = ROOM_WAIT_MS;
  }

  /** Whatever an earlier attempt did: its map may have called used what is free by now. Begun again when a write fails meanwhile. */
  #zeroHoles(board: Board): void {
    let failures: number;
    do {
      failures = board.failures;
      this.#zeroOnce(board);
      this.#parts.target.flush();
    } while (board.failures !== failures);
  }

  #zeroOnce(board: Board): void {
    const { target, flags, flushEveryMs } = this.#parts;
    let flushed = performance.now();
    eachHole(board.plan, (start, end) => {
      for (let at = start; at < end; ) {
        flags.check();
        const step = Math.min(ZERO_STEP_BYTES, end - at);
        target.zero(at, step);
        board.holeZeroed(step);
        at += step;
        // On storage without an order for zeros this takes hours, and blocks are written meanwhile.
        if (performance.now() - flushed < flushEveryMs) continue;
        this.#flush(board);
        flushed = performance.now();
      }
    });
  }
}
