/** A target in memory that refuses what a block device with direct I/O refuses. */
import assert from 'node:assert/strict';
import koffi from 'koffi';
import { Memory } from '../../../native/memory.ts';
import type { Target } from '../../../receiver/target/target.ts';

export class StrictTarget implements Target {
  readonly sizeBytes: number;
  readonly sectorBytes: number;
  /** Full of 0xdb at first. */
  readonly content: Buffer;
  /** Offset and length of each order to zero. */
  readonly zeroed: [number, number][] = [];
  readonly #memory: Memory;

  constructor(sizeBytes: number, sectorBytes: number) {
    this.#memory = new Memory(sizeBytes);
    this.sizeBytes = sizeBytes;
    this.sectorBytes = sectorBytes;
    this.content = Buffer.from(this.#memory.bytes.buffer, 0, sizeBytes);
    this.content.fill(0xdb);
  }

  /** Fills memory of anybody. */
  fill(address: number, length: number, byte: number): void {
    new Uint8Array(koffi.view(BigInt(address), length)).fill(byte);
  }

  #check(offset: number, length: number, address = 0): void {
    const aligned = [offset, length, address].every((one) => one % this.sectorBytes === 0);
    assert.ok(aligned, `${length} bytes at ${offset} from ${address} are aligned to ${this.sectorBytes}`);
    assert.ok(offset >= 0 && length > 0 && offset + length <= this.sizeBytes);
  }

  write(address: number, offset: number, length: number): void {
    this.#check(offset, length, address);
    this.content.set(new Uint8Array(koffi.view(BigInt(address), length)), offset);
  }

  zero(offset: number, length: number): void {
    this.#check(offset, length);
    this.zeroed.push([offset, length]);
    this.content.fill(0, offset, offset + length);
  }

  flush(): void {}

  dropCaches(): void {}

  read(address: number, offset: number, length: number): void {
    this.#check(offset, length, address);
    new Uint8Array(koffi.view(BigInt(address), length)).set(this.content.subarray(offset, offset + length));
  }

  close(): void {}

  free(): void {
    this.#memory.free();
  }
}
