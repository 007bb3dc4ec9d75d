/** A whole block in memory: for servers whose chunks may come in any order, and for ranges that are read again in parts. */
import { BLOCK_BYTES } from '../../appliance/api/transfer.ts';
import { clear, type Run } from '../../native/bytes.ts';
import { Memory } from '../../native/memory.ts';
import { xxh3At } from '../../native/xxhash.ts';
import type { Target } from '../target/target.ts';
import { ALIGN_BYTES } from './plan.ts';
import type { ContentSink } from './requests.ts';

/** As in BlockWriter, bytes. */
const PUNCH_BYTES = 64 * 1024;

/** Owned by one thread; `free` ends it. */
export class BlockMemory implements ContentSink {
  readonly memory = new Memory(BLOCK_BYTES);
  #holes: Run[] = [];
  #shift = 0;

  /** Begins a block. */
  begin(): void {
    this.#holes = [];
    this.#shift = 0;
  }

  /** What comes next goes `shift` bytes behind the block's start: it answers a part of it. Parts come in order. */
  part(shift: number): void {
    this.#shift = shift;
    // A try that failed may have told of holes before: what counts is what the next one brings.
    this.#holes = this.#holes.filter(({ start }) => start < shift);
  }

  room(start: number, length: number): { address: number; length: number } {
    return { address: this.memory.address + this.#shift + start, length };
  }

  /** The memory has it. */
  filled(): void {}

  hole(start: number, length: number): void {
    const at = this.#shift + start;
    clear(this.memory.address + at, length);
    this.#holes.push({ start: at, end: at + length });
  }

  /** XXH3-128 of the first `length` bytes, into `into`. */
  hash(length: number, into: DataView): void {
    xxh3At(this.memory.address, length, into, 0);
  }

  /** Writes the block of `length` bytes to `offset`; returns how many of its bytes came as zeros. */
  write(target: Target, offset: number, length: number): number {
    const holes = this.#holes.sort((a, b) => a.start - b.start);
    let at = 0;
    for (const { start, end } of holes) {
      if (end - start < PUNCH_BYTES || start % ALIGN_BYTES !== 0 || (end % ALIGN_BYTES !== 0 && end !== length))
        continue;
      if (start > at) target.write(this.memory.address + at, offset + at, start - at);
      target.zero(offset + start, end - start);
      at = end;
    }
    if (at < length) target.write(this.memory.address + at, offset + at, length - at);
    return holes.reduce((sum, { start, end }) => sum + end - start, 0);
  }

  /** Idempotent. */
  free(): void {
    this.memory.free();
  }
}
