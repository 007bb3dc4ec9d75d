/** A block device (or a regular file) with direct I/O as a target. */
import { RehostError } from '../../appliance/api/errors.ts';
import { BlockDevice } from '../../native/block.ts';
import { SysError } from '../../native/errors.ts';
import type { Address } from '../../native/memory.ts';
import type { Target } from './target.ts';

/** What a thinly provisioned disk's host without room arrives as: QEMU says it by its sense data (SPACE ALLOCATION FAILED), Linux by errno. */
const FULL = new Set(['ENOSPC', 'EDQUOT']);

/** Runs a system call; what it throws becomes TARGET_WRITE_FAILED with the range, or POOL_FULL. */
function guarded<T>(what: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    if (FULL.has(error.code)) {
      const full = `${what} failed: the storage pool that holds the target is full (${error.message}).`;
      throw new RehostError('POOL_FULL', full, { cause: error });
    }
    throw new RehostError('TARGET_WRITE_FAILED', `${what} failed: ${error.message}.`, { cause: error });
  }
}

export class BlockDeviceTarget implements Target {
  readonly sizeBytes: number;
  readonly sectorBytes: number;
  readonly #device: BlockDevice;

  /** `readOnly`: to be read back only; every write fails. */
  constructor(path: string, readOnly = false) {
    const open = () => BlockDevice.open(path, { write: !readOnly, direct: true });
    this.#device = guarded(`Opening target ${path}`, open);
    this.sizeBytes = this.#device.sizeBytes;
    this.sectorBytes = this.#device.logicalSectorBytes;
  }

  write(address: Address, offset: number, length: number): void {
    this.#check('Writing', offset, length);
    guarded(`Writing ${length} bytes at ${offset}`, () => this.#device.pwriteFull(address, length, offset));
  }

  zero(offset: number, length: number): void {
    this.#check('Zeroing', offset, length);
    guarded(`Zeroing ${length} bytes at ${offset}`, () => this.#device.zeroRange(offset, length));
  }

  flush(): void {
    guarded('Flushing', () => this.#device.flush());
  }

  dropCaches(): void {
    guarded('Dropping caches', () => this.#device.dropCaches());
  }

  read(address: Address, offset: number, length: number): void {
    this.#check('Reading', offset, length);
    guarded(`Reading back ${length} bytes at ${offset}`, () => this.#device.preadFull(address, length, offset));
  }

  close(): void {
    this.#device.close();
  }

  /** A range outside of the target is a fault of the caller; a regular file would grow by it. */
  #check(what: string, offset: number, length: number): void {
    if (offset >= 0 && length >= 0 && offset + length <= this.sizeBytes) return;
    throw new RehostError(
      'INTERNAL',
      `${what} ${length} bytes at ${offset} goes beyond the target's ${this.sizeBytes}.`,
    );
  }
}
