/** A disk image with changes, as a source of structures; it counts what is asked of it. */
import { crc32 } from 'node:zlib';
import { Inconsistent, type StructureSource } from '../../../agent/export/allocation/source.ts';
import { BLOCK, type SparseImage } from '../engine/sparse-image.ts';
import { must } from '../engine/violation.ts';

const READ_MAX_BYTES = 16 * 1024 * 1024;
/** All reads of one map: several times what the metadata of these images have, and no more than seconds of a disk, bytes. */
const ALL_READS_MAX_BYTES = 1024 * 1024 * 1024;
const CALLS_MAX = 500_000;
const SECTOR = 512;

export class ChangedImage implements StructureSource {
  readonly sizeBytes: number;
  readonly sectorBytes = SECTOR;
  readonly #image: SparseImage;
  readonly #changed = new Map<number, Buffer>();
  #calls = 0;
  #bytes = 0;

  constructor(image: SparseImage) {
    this.#image = image;
    this.sizeBytes = image.sizeBytes;
  }

  read(offset: number, length: number): Buffer {
    this.#calls++;
    this.#bytes += length;
    must(this.#calls <= CALLS_MAX, `more than ${CALLS_MAX} reads for one map`);
    if (!Number.isSafeInteger(offset) || offset < 0 || length < 0 || offset + length > this.sizeBytes) {
      throw new Inconsistent(`bytes ${offset} to ${offset + length} are not on the disk of ${this.sizeBytes} bytes`);
    }
    if (length > READ_MAX_BYTES) throw new Inconsistent(`a structure of ${length} bytes is not plausible`);
    must(this.#bytes <= ALL_READS_MAX_BYTES, `more than ${ALL_READS_MAX_BYTES} bytes read for one map`);
    return this.peek(offset, length);
  }

  /** The same, not counted. */
  peek(offset: number, length: number): Buffer {
    const result = Buffer.alloc(length);
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const number = Math.floor(at / BLOCK);
      const from = at % BLOCK;
      const step = Math.min(BLOCK - from, length - done);
      const block = this.#changed.get(number) ?? this.#image.blocks.get(number);
      block?.copy(result, done, from, from + step);
      done += step;
    }
    return result;
  }

  /** Writes into one block; what goes beyond its end is left out. */
  change(number: number, from: number, bytes: Buffer): void {
    const block = this.#changed.get(number) ?? Buffer.from(this.#image.blocks.get(number) ?? Buffer.alloc(BLOCK));
    bytes.copy(block, from);
    this.#changed.set(number, block);
  }

  #put(offset: number, value: number): void {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value >>> 0);
    this.change(Math.floor(offset / BLOCK), offset % BLOCK, bytes);
  }

  /** Makes the checksums right that stand in the code of tables: GPT's, and those of an LVM label at the disk's start. */
  mend(): void {
    if (this.peek(SECTOR, 8).toString('latin1') === 'EFI PART') this.#mendGpt();
    if (this.peek(SECTOR, 8).toString('latin1') === 'LABELONE') this.#mendLvm();
  }

  #mendGpt(): void {
    const header = this.peek(SECTOR, SECTOR);
    const place = header.readBigUInt64LE(72);
    const bytes = header.readUInt32LE(80) * header.readUInt32LE(84);
    if (place < BigInt(this.sizeBytes / SECTOR) && bytes < READ_MAX_BYTES) {
      this.#put(SECTOR + 88, crc32(this.peek(Number(place) * SECTOR, bytes)));
    }
    const size = header.readUInt32LE(12);
    if (size < 92 || size > SECTOR) return;
    this.#put(SECTOR + 16, 0);
    this.#put(SECTOR + 16, crc32(this.peek(SECTOR, size)));
  }

  /** The metadata area is where pvcreate puts it, at 4 KiB. */
  #mendLvm(): void {
    const crc = (bytes: Buffer): number => ~crc32(bytes, ~0xf597a6cf >>> 0) >>> 0;
    const header = this.peek(BLOCK, SECTOR);
    const offset = header.readBigUInt64LE(40);
    const bytes = header.readBigUInt64LE(48);
    if (offset < 1024n * 1024n && bytes < 1024n * 1024n) {
      this.#put(BLOCK + 56, crc(this.peek(BLOCK + Number(offset), Number(bytes))));
    }
    this.#put(BLOCK, crc(this.peek(BLOCK + 4, SECTOR - 4)));
    this.#put(SECTOR + 16, crc(this.peek(SECTOR + 20, SECTOR - 20)));
  }
}
