/**
 * Checksums of a file system's superblock, group descriptors and block bitmaps, where it has them: they hang on its UUID, so
 * that a structure of another or an earlier file system in the same place does not pass (kernel: fs/ext4/super.c
 * ext4_group_desc_csum, ext4_superblock_csum; fs/ext4/bitmap.c).
 */
import { crc16, crc32c } from './crc.ts';

const INCOMPAT_64BIT = 0x80;
const INCOMPAT_CSUM_SEED = 0x2000;
const RO_COMPAT_GDT_CSUM = 0x10;
const RO_COMPAT_METADATA_CSUM = 0x400;
/** s_checksum_type: the only one there is. */
const TYPE_CRC32C = 1;
const UUID = 0x68;
const SUPERBLOCK_CHECKSUM = 0x3fc;
const DESCRIPTOR_CHECKSUM = 0x1e;
/** A descriptor's own checksum counts as zero in it. */
const CHECKSUM_LEFT_OUT = Buffer.alloc(2);

/** Made from the superblock's 1024 bytes. */
export class Ext4Checksums {
  /** `metadata` covers the bitmaps as well; `none` covers nothing. With both features on, metadata_csum counts. */
  readonly kind: 'metadata' | 'descriptors' | 'none';
  readonly #superblock: Buffer;
  readonly #seed: number;
  readonly #wide: boolean;
  readonly #number = Buffer.alloc(4);

  constructor(superblock: Buffer) {
    const roCompat = superblock.readUInt32LE(0x64);
    const incompat = superblock.readUInt32LE(0x60);
    if (roCompat & RO_COMPAT_METADATA_CSUM) this.kind = 'metadata';
    else this.kind = roCompat & RO_COMPAT_GDT_CSUM ? 'descriptors' : 'none';
    const uuid = superblock.subarray(UUID, UUID + 16);
    if (this.kind === 'descriptors') this.#seed = crc16(0xffff, uuid);
    else this.#seed = incompat & INCOMPAT_CSUM_SEED ? superblock.readUInt32LE(0x270) : crc32c(0xffffffff, uuid);
    this.#wide = (incompat & INCOMPAT_64BIT) !== 0;
    this.#superblock = superblock;
  }

  superblockHolds(): boolean {
    if (this.kind !== 'metadata') return true;
    const own = crc32c(0xffffffff, this.#superblock.subarray(0, SUPERBLOCK_CHECKSUM));
    return (
      this.#superblock.readUInt8(0x175) === TYPE_CRC32C && own === this.#superblock.readUInt32LE(SUPERBLOCK_CHECKSUM)
    );
  }

  /** `descriptor` is all of the group's descriptor. */
  descriptorHolds(group: number, descriptor: Buffer): boolean {
    if (this.kind === 'none') return true;
    const number = this.#number;
    number.writeUInt32LE(group);
    const head = descriptor.subarray(0, DESCRIPTOR_CHECKSUM);
    const tail = descriptor.subarray(DESCRIPTOR_CHECKSUM + 2);
    const stored = descriptor.readUInt16LE(DESCRIPTOR_CHECKSUM);
    if (this.kind === 'descriptors') {
      const crc = crc16(crc16(this.#seed, number), head);
      return stored === (this.#wide ? crc16(crc, tail) : crc);
    }
    const crc = crc32c(crc32c(crc32c(this.#seed, number), head), CHECKSUM_LEFT_OUT);
    return stored === (crc32c(crc, tail) & 0xffff);
  }

  /** What a group's descriptor says of its bitmap's checksum: 32 bits, or the lower 16 where there is no room for more. */
  bitmapSum(descriptor: Buffer): number {
    const low = descriptor.readUInt16LE(0x18);
    return this.#wide ? low + descriptor.readUInt16LE(0x38) * 65536 : low;
  }

  /** `sum` is the group's `bitmapSum`, `bitmap` the part that a whole group of this file system uses. */
  bitmapHolds(sum: number, bitmap: Buffer): boolean {
    if (this.kind !== 'metadata') return true;
    const crc = crc32c(this.#seed, bitmap);
    return sum === (this.#wide ? crc : crc & 0xffff);
  }
}
