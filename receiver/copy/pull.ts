/** The copy loop of one connection: several READs in flight, each received into aligned memory, written from there, hashed. */

import { RehostError } from '../../appliance/api/errors.ts';
import { REHOST_HASH_BYTES } from '../../appliance/api/nbd.ts';
import { PIECE_BYTES, QUEUE_DEPTH } from '../../appliance/api/transfer.ts';
import { clear, type Run } from '../../native/bytes.ts';
import { Memory } from '../../native/memory.ts';
import { xxh3At } from '../../native/xxhash.ts';
import type { Target } from '../target/target.ts';
import type { Board } from './board.ts';
import type { Agreement } from './client.ts';
import { ALIGN_BYTES } from './plan.ts';
import type { PendingRead, Requests } from './requests.ts';

/** Zero runs from this on are zeroed on the target; shorter ones are written: one request instead of three, bytes. */
const PUNCH_BYTES = 64 * 1024;
/** A piece that the server cannot read is read again in parts of this, bytes. */
const RETRY_BYTES = 64 * 1024;
const RETRIES = 3;

interface Slot {
  memory: Memory;
  piece: number;
}

/** Owned by the connection's thread; `free` ends it. */
export class Puller {
  readonly #free: Memory[] = Array.from({ length: QUEUE_DEPTH }, () => new Memory(PIECE_BYTES));
  readonly #all = [...this.#free];
  readonly #scratch = new Memory(REHOST_HASH_BYTES);

  /**
   * Copies pieces until none is left to take for this worker. `progress` is called after each piece and throws to give up.
   * What was taken and is not done when this throws must be given back by the caller. SOURCE_READ_FAILED and
   * TARGET_WRITE_FAILED are final; everything else means that the connection is of no use.
   */
  run(
    requests: Requests,
    agreement: Agreement,
    board: Board,
    target: Target,
    worker: number,
    progress: () => void,
  ): void {
    const slots = new Map<PendingRead, Slot>();
    const failed: Slot[] = [];
    // A connection that broke left its memory in flight.
    this.#free.splice(0, this.#free.length, ...this.#all);
    for (;;) {
      this.#ask(requests, board, worker, slots);
      if (requests.inFlight === 0) break;
      const read = requests.complete();
      const slot = read.kind === 'read' ? slots.get(read) : undefined;
      if (read.kind !== 'read' || !slot) throw new RehostError('INTERNAL', 'A reply to a request of somebody else.');
      slots.delete(read);
      if (read.error) failed.push(slot);
      else {
        const hash = this.#receive(read, slot.memory, agreement.hashes);
        this.#keep(board, target, slot, hash, read.chunks);
        this.#free.push(slot.memory);
      }
      progress();
    }
    for (const slot of failed) {
      const chunks = this.#again(requests, agreement, board, slot, progress);
      this.#keep(board, target, slot, this.#hash(slot.memory, board.plan.lengths[slot.piece] ?? 0), chunks);
      this.#free.push(slot.memory);
      progress();
    }
  }

  #ask(requests: Requests, board: Board, worker: number, slots: Map<PendingRead, Slot>): void {
    for (;;) {
      const memory = this.#free.at(-1);
      if (!memory) break;
      const piece = board.take(worker);
      if (piece === undefined) break;
      this.#free.pop();
      const read = requests.read(board.plan.offsets[piece] ?? 0, board.plan.lengths[piece] ?? 0, memory.address);
      slots.set(read, { memory, piece });
    }
    requests.flush();
  }

  /** Brings the memory to what the source has where that matters, and returns the hash: the source's, or our own of what arrived. */
  #receive(read: PendingRead, memory: Memory, hashes: boolean): Uint8Array {
    for (const chunk of read.chunks) {
      // Runs that will be zeroed on the target need no zeros here, unless they are to be hashed.
      if (chunk.hole && (!hashes || !punchable(chunk, read.length))) {
        clear(memory.address + chunk.start, chunk.end - chunk.start);
      }
    }
    return hashes && read.hash ? read.hash : this.#hash(memory, read.length);
  }

  #hash(memory: Memory, length: number): Uint8Array {
    xxh3At(memory.address, length, this.#scratch.view, 0);
    return this.#scratch.bytes.slice(0, REHOST_HASH_BYTES);
  }

  /** Writes the piece, and tells the board. */
  #keep(
    board: Board,
    target: Target,
    slot: Slot,
    hash: Uint8Array,
    chunks: readonly (Run & { hole: boolean })[],
  ): void {
    const { plan } = board;
    const offset = plan.offsets[slot.piece] ?? 0;
    const length = plan.lengths[slot.piece] ?? 0;
    const holes = chunks.filter((chunk) => chunk.hole);
    const punched = holes.filter((chunk) => punchable(chunk, length)).sort((a, b) => a.start - b.start);
    let at = 0;
    for (const { start, end } of punched) {
      if (start > at) target.write(slot.memory.address + at, offset + at, start - at);
      target.zero(offset + start, end - start);
      at = end;
    }
    if (at < length) target.write(slot.memory.address + at, offset + at, length - at);
    plan.hashes.set(hash, slot.piece * REHOST_HASH_BYTES);
    const zeros = holes.reduce((sum, { start, end }) => sum + end - start, 0);
    // Gaps inside a piece that the map already told of are no news.
    const gaps = length - (plan.used[slot.piece] ?? 0);
    if (board.done(slot.piece, Math.max(0, zeros - gaps))) board.flush(() => target.flush());
  }

  /**
   * Reads a piece that the server failed on again, in small parts, each several times. Each part's hash is checked here, so
   * that the piece's own hash, taken from memory afterwards, stands for what the source read. SOURCE_READ_FAILED names the part.
   */
  #again(
    requests: Requests,
    agreement: Agreement,
    board: Board,
    slot: Slot,
    progress: () => void,
  ): (Run & { hole: boolean })[] {
    const offset = board.plan.offsets[slot.piece] ?? 0;
    const length = board.plan.lengths[slot.piece] ?? 0;
    for (let at = 0; at < length; at += RETRY_BYTES) {
      const part = Math.min(RETRY_BYTES, length - at);
      this.#part(requests, agreement, slot.memory, offset, at, part);
      progress();
    }
    return [{ start: 0, end: length, hole: false }];
  }

  #part(requests: Requests, agreement: Agreement, memory: Memory, offset: number, at: number, length: number): void {
    let said = '';
    for (let attempt = 0; attempt < RETRIES; attempt++) {
      const read = requests.read(offset + at, length, memory.address + at);
      requests.flush();
      if (requests.complete() !== read) throw new RehostError('INTERNAL', 'A reply to a request of somebody else.');
      if (!read.error) {
        for (const chunk of read.chunks) {
          if (chunk.hole) clear(memory.address + at + chunk.start, chunk.end - chunk.start);
        }
        if (agreement.hashes && read.hash) {
          xxh3At(memory.address + at, length, this.#scratch.view, 0);
          if (Buffer.compare(this.#scratch.bytes.subarray(0, REHOST_HASH_BYTES), read.hash) !== 0) {
            throw new RehostError(
              'PROTOCOL_VIOLATION',
              `The hash of ${length} bytes at ${offset + at} is not that of what arrived.`,
            );
          }
        }
        return;
      }
      said = `${read.error.message}${read.error.offset === undefined ? '' : `, at ${read.error.offset}`}`;
    }
    throw new RehostError(
      'SOURCE_READ_FAILED',
      `The source cannot read ${length} bytes at ${offset + at} (tried ${RETRIES} times): ${said}.`,
    );
  }

  /** Frees all memory. Idempotent. No request may be in flight any longer. */
  free(): void {
    for (const memory of this.#all) memory.free();
    this.#scratch.free();
  }
}

/** Long enough, and aligned as direct I/O of what lies beside it needs. */
function punchable(run: Run, length: number): boolean {
  return (
    run.end - run.start >= PUNCH_BYTES &&
    run.start % ALIGN_BYTES === 0 &&
    (run.end % ALIGN_BYTES === 0 || run.end === length)
  );
}
