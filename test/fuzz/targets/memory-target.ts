/** A copy's target in memory, which accepts nothing that the contract of targets does not allow. */
import type { Run } from '../../../native/bytes.ts';
import type { Address } from '../../../native/memory.ts';
import type { Target } from '../../../receiver/target/target.ts';
import { peek, poke } from '../engine/copy.ts';
import { must } from '../engine/violation.ts';

/** What stands in a new replica: a byte that nobody wrote is neither data nor zero. */
export const UNWRITTEN = 0xee;

export class MemoryTarget implements Target {
  readonly sizeBytes: number;
  readonly sectorBytes = 512;
  readonly image: Buffer;
  /** Ranges that were written or zeroed, in order. */
  readonly touched: Run[] = [];

  /** `image` is the caller's, UNWRITTEN throughout. */
  constructor(image: Buffer) {
    this.sizeBytes = image.length;
    this.image = image;
  }

  /** Makes the image what it was before. */
  reset(): void {
    for (const { start, end } of this.touched) this.image.fill(UNWRITTEN, start, end);
  }

  #range(offset: number, length: number): void {
    must(Number.isSafeInteger(offset) && offset >= 0 && length > 0, `${length} bytes at ${offset} of the target`);
    must(offset + length <= this.sizeBytes, `${length} bytes at ${offset} of a target of ${this.sizeBytes}`);
    must(offset % this.sectorBytes === 0 && length % this.sectorBytes === 0, `not aligned: ${length} at ${offset}`);
  }

  #touch(offset: number, length: number): void {
    this.#range(offset, length);
    this.touched.push({ start: offset, end: offset + length });
  }

  write(address: Address, offset: number, length: number): void {
    this.#touch(offset, length);
    must(address % this.sectorBytes === 0, 'a write from an address that is not aligned');
    peek(address, length).copy(this.image, offset);
  }

  zero(offset: number, length: number): void {
    this.#touch(offset, length);
    this.image.fill(0, offset, offset + length);
  }

  flush(): void {}

  dropCaches(): void {}

  read(address: Address, offset: number, length: number): void {
    this.#range(offset, length);
    poke(address, this.image.subarray(offset, offset + length));
  }

  close(): void {}
}
