/** Disk images that are mostly zeros, as files of some KiB: brotli of the size (u64) and of each block that is not zero. Little-endian. */
import { brotliCompressSync, brotliDecompressSync } from 'node:zlib';

export const BLOCK = 4096;
const HEAD = 8;
const ENTRY = 4 + BLOCK;

export interface SparseImage {
  sizeBytes: number;
  /** By number; what is not there is zero. */
  blocks: Map<number, Buffer>;
}

/** Packs an image of which `read` gives the blocks; `used` names those that may hold something. */
export function pack(sizeBytes: number, used: Iterable<number>, read: (block: number) => Buffer): Buffer {
  const head = Buffer.alloc(HEAD);
  head.writeBigUInt64LE(BigInt(sizeBytes));
  const parts: Buffer[] = [head];
  for (const number of used) {
    const block = read(number);
    if (block.equals(Buffer.alloc(block.length))) continue;
    const entry = Buffer.alloc(ENTRY);
    entry.writeUInt32LE(number, 0);
    block.copy(entry, 4);
    parts.push(entry);
  }
  return brotliCompressSync(Buffer.concat(parts));
}

export function unpack(packed: Uint8Array): SparseImage {
  const bytes = brotliDecompressSync(packed);
  const blocks = new Map<number, Buffer>();
  for (let at = HEAD; at + ENTRY <= bytes.length; at += ENTRY) {
    blocks.set(bytes.readUInt32LE(at), bytes.subarray(at + 4, at + ENTRY));
  }
  return { sizeBytes: Number(bytes.readBigUInt64LE(0)), blocks };
}
