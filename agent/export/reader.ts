/** Reads of one source disk for one connection: any offset and length, free blocks as zeros, never with O_DIRECT rules broken. */
import { STEP_BYTES } from '../../appliance/api/transfer.ts';
import { BlockDevice } from '../../native/block.ts';
import { clear } from '../../native/bytes.ts';
import { SysError } from '../../native/errors.ts';
import { Memory } from '../../native/memory.ts';
import type { AllocationMap } from './allocation/map.ts';
import { firstBehind } from './allocation/ranges.ts';
import type { MannerlyReads } from './manners.ts';

/** Free gaps shorter than this are read along and cleared: one larger read is faster than two, bytes. */
const GAP_BYTES = 128 * 1024;
/** Room of the buffer at first, a step and what alignment adds; a standard client's larger reads make it grow, bytes. */
const BUFFER_BYTES = STEP_BYTES + 8192;

/** The disk could not be read. Nothing is sent in its place. */
export class ReadFault extends Error {
  override readonly name = 'ReadFault';
  /** Where on the disk the failed read began, bytes. */
  readonly offset: number;

  constructor(offset: number, cause: SysError) {
    super(cause.message, { cause });
    this.offset = offset;
  }
}

/** Opens the disk for itself; owned by one thread, ended by `close`. */
export class DiskReader {
  readonly device: BlockDevice;
  readonly map: AllocationMap;
  /** Bytes read from the disk so far. */
  readBytes = 0;
  #memory = new Memory(BUFFER_BYTES);
  readonly #manners: MannerlyReads | undefined;

  /** SysError when the disk cannot be opened. Without `manners` it is read as fast as it can be. */
  constructor(path: string, map: AllocationMap, manners?: MannerlyReads) {
    this.map = map;
    this.#manners = manners;
    try {
      this.device = BlockDevice.open(path, { write: false, direct: true });
    } catch (error) {
      this.#memory.free();
      throw error;
    }
  }

  /** What the last `fill` read; valid until the next. */
  get memory(): Memory {
    return this.#memory;
  }

  /**
   * Reads [offset, offset + length), which lies within the disk, and returns where in `memory` it begins. Free blocks are
   * zeros without being read: they were reported so, and what they hold is nobody's. ReadFault when the disk cannot be read.
   */
  fill(offset: number, length: number): number {
    const sector = this.device.logicalSectorBytes;
    const low = offset - (offset % sector);
    const high = Math.min(this.map.sizeBytes, Math.ceil((offset + length) / sector) * sector);
    this.#grow(high - low);
    const { free } = this.map;
    const first = firstBehind(free, low);
    let from = low;
    for (let i = first; ; i++) {
      const start = Math.min(high, free[2 * i] ?? high);
      const end = Math.min(high, free[2 * i + 1] ?? high);
      // A short gap in the middle does not end a read.
      if (start < high && end < high && start > from && end - start < GAP_BYTES) continue;
      const stop = Math.min(high, Math.ceil(start / sector) * sector);
      if (stop > from) this.#read(low, from, stop);
      if (end >= high) break;
      from = Math.max(from, end - (end % sector));
    }
    for (let i = first; (free[2 * i] ?? high) < high; i++) {
      const start = Math.max(low, free[2 * i] ?? high);
      const end = Math.min(high, free[2 * i + 1] ?? high);
      clear(this.#memory.address + start - low, end - start);
    }
    return offset - low;
  }

  #read(low: number, from: number, to: number): void {
    const read = (): void => this.device.preadFull(this.#memory.address + from - low, to - from, from);
    try {
      if (this.#manners) this.#manners.read(read);
      else read();
    } catch (error) {
      if (error instanceof SysError) throw new ReadFault(from, error);
      throw error;
    }
    this.readBytes += to - from;
  }

  #grow(bytes: number): void {
    if (bytes <= this.#memory.length) return;
    const larger = new Memory(bytes);
    this.#memory.free();
    this.#memory = larger;
  }

  /** Closes the disk and frees the buffer. Idempotent. */
  close(): void {
    this.device.close();
    this.#memory.free();
  }
}
