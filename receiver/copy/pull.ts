/** The copy loop of one connection: several READs of a block each in flight, each written as it arrives or when it is complete. */

import type { OnReadError } from '../../appliance/api/control.ts';
import { RehostError } from '../../appliance/api/errors.ts';
import { REHOST_HASH_BYTES } from '../../appliance/api/nbd.ts';
import { QUEUE_DEPTH } from '../../appliance/api/transfer.ts';
import { Memory } from '../../native/memory.ts';
import type { Target } from '../target/target.ts';
import { BlockMemory } from './block-memory.ts';
import { BlockWriter } from './block-writer.ts';
import type { Board } from './board.ts';
import { blockLength, blockOffset } from './plan.ts';
import type { ContentSink, PendingRead, Requests } from './requests.ts';
import { Rescue } from './rescue.ts';

/** What one run is about; all of it stays the caller's. */
export interface PullRun {
  requests: Requests;
  board: Board;
  target: Target;
  /** 1 to 8. */
  worker: number;
  /** Replies come one after the other, their chunks in order, with the source's hash. */
  ordered: boolean;
  /** Called before a block is asked for: blocks while the copy is paused. False when nothing more is to be asked for now. */
  mayAsk: () => boolean;
  /** Called after each step; throws to give up. */
  progress: () => void;
}

/** A READ in flight with its block: an index of the plan. */
interface Flight {
  block: number;
  sink: Ordered | BlockMemory;
}

/** Of one connection's thread; `free` ends it. */
export class Puller {
  readonly #writer = new BlockWriter();
  readonly #rescue: Rescue;
  /** Made when they are first needed: a server whose replies are ordered needs none but for a bad sector. */
  readonly #memories: BlockMemory[] = [];
  readonly #scratch = new Memory(REHOST_HASH_BYTES);

  constructor(onReadError: OnReadError) {
    this.#rescue = new Rescue(onReadError);
  }

  /**
   * Copies blocks until none is left to take for this worker. What was taken and is not done when this throws must be given back by
   * the caller. SOURCE_READ_FAILED and TARGET_WRITE_FAILED are the copy's; everything else means that the connection is of no use.
   */
  run(run: PullRun): void {
    const flights = new Map<PendingRead, Flight>();
    const free = [...this.#memories];
    const failed: number[] = [];
    for (;;) {
      this.#ask(run, flights, free);
      if (run.requests.inFlight === 0) break;
      const read = run.requests.complete();
      const flight = read.kind === 'read' ? flights.get(read) : undefined;
      if (read.kind !== 'read' || !flight) throw new RehostError('INTERNAL', 'A reply to a request of somebody else.');
      flights.delete(read);
      if (read.error) failed.push(flight.block);
      else this.#keep(run, read, flight);
      if (flight.sink instanceof BlockMemory) free.push(flight.sink);
      run.progress();
    }
    for (const block of failed) this.#again(run, block, free);
  }

  #ask(run: PullRun, flights: Map<PendingRead, Flight>, free: BlockMemory[]): void {
    while (flights.size < QUEUE_DEPTH && (flights.size > 0 || run.mayAsk())) {
      if (flights.size > 0 && !run.mayAsk()) break;
      const block = run.board.take(run.worker);
      if (block === undefined) break;
      const length = blockLength(run.board.plan, block);
      const sink = run.ordered
        ? new Ordered(this.#writer, run.target, blockOffset(run.board.plan, block), length)
        : this.#memory(free);
      const read = run.requests.read(blockOffset(run.board.plan, block), length, sink);
      flights.set(read, { block, sink });
    }
    run.requests.flush();
  }

  #memory(free: BlockMemory[]): BlockMemory {
    const memory = free.pop() ?? new BlockMemory();
    if (!this.#memories.includes(memory)) this.#memories.push(memory);
    memory.begin();
    return memory;
  }

  #keep({ board, target }: PullRun, read: PendingRead, { block, sink }: Flight): void {
    if (sink instanceof BlockMemory) this.#keepMemory(board, target, block, sink, read.hash);
    else if (read.hash) this.#done(board, block, read.hash, sink.end());
    else throw new RehostError('INTERNAL', 'An ordered reply without a hash.');
  }

  #keepMemory(
    board: Board,
    target: Target,
    block: number,
    memory: BlockMemory,
    hash: Uint8Array | undefined,
    bad: readonly [number, number][] = [],
  ): void {
    const length = blockLength(board.plan, block);
    const zeros = memory.write(target, blockOffset(board.plan, block), length);
    if (!hash) memory.hash(length, this.#scratch.view);
    // When the block is there, and before it counts as done: whoever records it finds them.
    for (const [at, bytes] of bad) board.noteBad(at, bytes);
    this.#done(board, block, hash ?? this.#scratch.bytes.slice(0, REHOST_HASH_BYTES), zeros);
  }

  /** Gaps inside a block that the map already told of are no news. */
  #done(board: Board, block: number, hash: Uint8Array, zeroBytes: number): void {
    const gaps = blockLength(board.plan, block) - (board.plan.used[block] ?? 0);
    board.done(block, hash, Math.max(0, zeroBytes - gaps));
  }

  #again(run: PullRun, block: number, free: BlockMemory[]): void {
    run.board.retried();
    const memory = this.#memory(free);
    const bad = this.#rescue.read(run.requests, run.board, block, memory, run.progress);
    // Zeros in place of what could not be read are in the memory only: the hash is ours.
    this.#keepMemory(run.board, run.target, block, memory, undefined, bad);
    free.push(memory);
    run.progress();
  }

  /** Frees all memory. Idempotent. No request may be in flight any longer. */
  free(): void {
    this.#writer.free();
    this.#rescue.free();
    for (const memory of this.#memories) memory.free();
    this.#scratch.free();
  }
}

/** One block's way to the writer that all of the connection's blocks share, one after the other. */
class Ordered implements ContentSink {
  readonly #writer: BlockWriter;
  readonly #target: Target;
  readonly #offset: number;
  readonly #length: number;
  #begun = false;

  constructor(writer: BlockWriter, target: Target, offset: number, length: number) {
    this.#writer = writer;
    this.#target = target;
    this.#offset = offset;
    this.#length = length;
  }

  #begin(): BlockWriter {
    if (!this.#begun) this.#writer.begin(this.#target, this.#offset, this.#length);
    this.#begun = true;
    return this.#writer;
  }

  room(start: number, length: number): { address: number; length: number } {
    return this.#begin().room(start, length);
  }

  filled(start: number, length: number): void {
    this.#writer.filled(start, length);
  }

  hole(start: number, length: number): void {
    this.#begin().hole(start, length);
  }

  end(): number {
    return this.#begin().end();
  }
}
