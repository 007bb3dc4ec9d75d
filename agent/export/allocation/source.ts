/** Small reads of a disk's structures, as copies in the JS heap: superblocks, tables, bitmaps. Not for data. */
import type { BlockDevice } from '../../../native/block.ts';
import { Memory } from '../../../native/memory.ts';

/** What is on the disk contradicts itself or goes beyond what is understood: the area is then taken as unknown. */
export class Inconsistent extends Error {
  override readonly name = 'Inconsistent';
}

/** Reads bytes of the disk. Inconsistent when the range is not on the disk; SysError when it cannot be read. */
export interface StructureSource {
  readonly sizeBytes: number;
  readonly sectorBytes: number;
  /**
   * `scratch` is the caller's memory of at least `length` bytes, where the result may be: until the caller gives it again. A
   * reader of many structures does so, because what it drops stays in memory until a collection, and those are rare.
   */
  read(offset: number, length: number, scratch?: Buffer): Buffer;
}

/** Bitmaps of neighbouring groups lie side by side: one read brings sixteen of them. */
const WINDOW_BYTES = 64 * 1024;
/** No structure that is read at once is larger. */
const READ_MAX_BYTES = 16 * 1024 * 1024;

/** A StructureSource over a device, with a window of the last read. Owned by one thread; `free` ends it. */
export class DeviceSource implements StructureSource {
  readonly sizeBytes: number;
  readonly sectorBytes: number;
  readonly #device: BlockDevice;
  readonly #window = new Memory(WINDOW_BYTES);
  #start = 0;
  #length = 0;

  /** The device stays the caller's. `sizeBytes` bounds what is read. */
  constructor(device: BlockDevice, sizeBytes: number) {
    this.#device = device;
    this.sizeBytes = sizeBytes;
    this.sectorBytes = device.logicalSectorBytes;
  }

  read(offset: number, length: number, scratch?: Buffer): Buffer {
    if (!Number.isSafeInteger(offset) || offset < 0 || length < 0 || offset + length > this.sizeBytes) {
      throw new Inconsistent(`bytes ${offset} to ${offset + length} are not on the disk of ${this.sizeBytes} bytes`);
    }
    if (length > READ_MAX_BYTES) throw new Inconsistent(`a structure of ${length} bytes is not plausible`);
    const result = scratch ? scratch.subarray(0, length) : Buffer.alloc(length);
    for (let done = 0; done < length; ) {
      const at = offset + done;
      if (at < this.#start || at >= this.#start + this.#length) this.#load(at);
      const from = at - this.#start;
      const step = Math.min(length - done, this.#length - from);
      result.set(this.#window.bytes.subarray(from, from + step), done);
      done += step;
    }
    return result;
  }

  #load(at: number): void {
    const start = at - (at % WINDOW_BYTES);
    const length = Math.min(WINDOW_BYTES, this.sizeBytes - start);
    // A failed read leaves unknown bytes in the window.
    this.#length = 0;
    this.#device.preadFull(this.#window.address, length, start);
    this.#start = start;
    this.#length = length;
  }

  free(): void {
    this.#window.free();
  }
}
