/** The target that keeps nothing: what it reads back is zeros. For measuring. */
import { clear } from '../../native/bytes.ts';
import type { Address } from '../../native/memory.ts';
import type { Target } from './target.ts';

export class NullTarget implements Target {
  readonly sizeBytes: number;
  readonly sectorBytes = 512;

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
  }

  write(): void {}

  zero(): void {}

  flush(): void {}

  dropCaches(): void {}

  read(address: Address, _offset: number, length: number): void {
    clear(address, length);
  }

  close(): void {}
}
