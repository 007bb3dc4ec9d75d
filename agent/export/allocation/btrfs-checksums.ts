/** The checksums with which btrfs guards its superblocks and tree nodes (kernel: fs/btrfs/fs.c, btrfs_csums). */
import { createHash } from 'node:crypto';
import { xxh64 } from '../../../native/xxhash.ts';
import { crc32c } from './crc.ts';
import { Inconsistent } from './source.ts';

/** Every block begins with room for the longest of them, which the checksum itself does not cover. */
const CHECKSUM_BYTES = 32;

/** By csum_type. The fourth, BLAKE2b with 256 bits, is not what node:crypto has under that name (512): not understood. */
const KINDS: readonly ((bytes: Buffer) => Buffer)[] = [crc32cBytes, xxh64Bytes, sha256Bytes];

function crc32cBytes(bytes: Buffer): Buffer {
  const result = Buffer.alloc(4);
  result.writeUInt32LE(~crc32c(0xffffffff, bytes) >>> 0);
  return result;
}

function xxh64Bytes(bytes: Buffer): Buffer {
  const result = Buffer.alloc(8);
  result.writeBigUInt64LE(xxh64(bytes));
  return result;
}

function sha256Bytes(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest();
}

/** Does this superblock or node agree with the checksum at its start? Inconsistent when the type is not known here. */
export function btrfsChecksumHolds(type: number, block: Buffer): boolean {
  const kind = KINDS[type];
  if (!kind) throw new Inconsistent(`btrfs: its checksum type ${type} is not known here`);
  const own = kind(block.subarray(CHECKSUM_BYTES));
  return own.equals(block.subarray(0, own.length));
}
