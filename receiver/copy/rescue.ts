/** A block that the source could not read as a whole, read again in small parts, so that a bad sector costs no more than itself. */
import type { OnReadError } from '../../appliance/api/control.ts';
import { RehostError } from '../../appliance/api/errors.ts';
import { REHOST_HASH_BYTES } from '../../appliance/api/nbd.ts';
import { clear } from '../../native/bytes.ts';
import { Memory } from '../../native/memory.ts';
import { xxh3At } from '../../native/xxhash.ts';
import type { BlockMemory } from './block-memory.ts';
import type { Board } from './board.ts';
import { blockLength, blockOffset } from './plan.ts';
import type { Requests } from './requests.ts';

/** A block is read again in parts of this, and those of a part that fails in parts of the largest sector, bytes. */
const PART_BYTES = 64 * 1024;
const SECTOR_BYTES = 4096;
/** Tries of one part; a sector that failed as part of one is tried once more by itself. */
const TRIES = 3;

/** Owned by the connection's thread; `free` ends it. */
export class Rescue {
  readonly #scratch = new Memory(REHOST_HASH_BYTES);
  readonly #onReadError: OnReadError;

  constructor(onReadError: OnReadError) {
    this.#onReadError = onReadError;
  }

  /**
   * Reads the block into `memory`. What cannot be read is SOURCE_READ_FAILED, or zeros here and answered as pairs of disk offset and
   * length, as ordered. Each part's hash is checked, so that the block's own, taken from memory afterwards, stands for what the source read.
   */
  read(
    requests: Requests,
    board: Board,
    block: number,
    memory: BlockMemory,
    progress: () => void,
  ): [offset: number, length: number][] {
    const length = blockLength(board.plan, block);
    const offset = blockOffset(board.plan, block);
    const bad: [number, number][] = [];
    memory.begin();
    for (let at = 0; at < length; at += PART_BYTES) {
      const part = Math.min(PART_BYTES, length - at);
      const said = this.#tries(requests, board, memory, offset, at, part, TRIES);
      if (said !== undefined) bad.push(...this.#sectors(requests, board, memory, offset, at, part, said));
      progress();
    }
    return bad;
  }

  #sectors(
    requests: Requests,
    board: Board,
    memory: BlockMemory,
    offset: number,
    from: number,
    length: number,
    said: string,
  ): [number, number][] {
    if (this.#onReadError === 'fail') {
      throw new RehostError(
        'SOURCE_READ_FAILED',
        `The source cannot read ${length} bytes at ${offset + from} (tried ${TRIES} times): ${said}.`,
      );
    }
    const bad: [number, number][] = [];
    let badFrom: number | undefined;
    for (let at = from; at < from + length; at += SECTOR_BYTES) {
      const bytes = Math.min(SECTOR_BYTES, from + length - at);
      if (this.#tries(requests, board, memory, offset, at, bytes, 1) === undefined) {
        if (badFrom !== undefined) bad.push([offset + badFrom, at - badFrom]);
        badFrom = undefined;
      } else {
        clear(memory.memory.address + at, bytes);
        badFrom ??= at;
      }
    }
    if (badFrom !== undefined) bad.push([offset + badFrom, from + length - badFrom]);
    return bad;
  }

  /** Undefined when it was read, else what the source said the last time. */
  #tries(
    requests: Requests,
    board: Board,
    memory: BlockMemory,
    offset: number,
    at: number,
    length: number,
    tries: number,
  ): string | undefined {
    let said: string | undefined;
    for (let attempt = 0; attempt < tries; attempt++) {
      if (attempt > 0) board.retried();
      memory.part(at);
      const read = requests.read(offset + at, length, memory);
      requests.flush();
      if (requests.complete() !== read) throw new RehostError('INTERNAL', 'A reply to a request of somebody else.');
      if (!read.error) {
        this.#check(read.hash, memory, offset, at, length);
        return undefined;
      }
      said = `${read.error.message}${read.error.offset === undefined ? '' : `, at ${read.error.offset}`}`;
    }
    return said ?? 'unknown';
  }

  #check(hash: Uint8Array | undefined, memory: BlockMemory, offset: number, at: number, length: number): void {
    if (!hash) return;
    xxh3At(memory.memory.address + at, length, this.#scratch.view, 0);
    if (Buffer.compare(this.#scratch.bytes.subarray(0, REHOST_HASH_BYTES), hash) === 0) return;
    throw new RehostError(
      'PROTOCOL_VIOLATION',
      `The hash of ${length} bytes at ${offset + at} is not that of what arrived.`,
    );
  }

  /** Idempotent. */
  free(): void {
    this.#scratch.free();
  }
}
