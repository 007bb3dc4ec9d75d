/**
 * All group descriptors of an ext2, ext3 or ext4 file system. What is needed of them later is kept as plain numbers, for a disk
 * of 16 TiB has 131,072 of them: 41 bytes for each group while they are read and 17 from then on, and 16 bytes for each range
 * that their metadata make.
 */
import type { Ext4Checksums } from './ext4-checksums.ts';
import { descriptorBlock, type Ext4Superblock } from './ext4-superblock.ts';
import { RangeBuilder } from './ranges.ts';
import { Inconsistent, type StructureSource } from './source.ts';

const GROUP_BLOCK_UNINIT = 0x2;

export interface Ext4Groups {
  /** By number of the group: the block of its bitmap. */
  bitmaps: Float64Array;
  /** By number of the group: what its descriptor says of its bitmap's checksum, where there are any. */
  bitmapSums: Uint32Array;
  freeClusters: Uint32Array;
  /** 1: it has no bitmap yet. */
  uninitialised: Uint8Array;
  /** Bitmaps and inode tables of all groups, as block ranges: with flex_bg they lie in other groups, also uninitialised ones. */
  metadata: Float64Array;
}

/** Inconsistent when a descriptor fails its checksum or names blocks outside, or when they do not sum up to the superblock's count. */
export function readGroups(
  source: StructureSource,
  start: number,
  sb: Ext4Superblock,
  checksums: Ext4Checksums,
): Ext4Groups {
  const bitmaps = new Float64Array(sb.groups);
  const bitmapSums = new Uint32Array(sb.groups);
  const freeClusters = new Uint32Array(sb.groups);
  const uninitialised = new Uint8Array(sb.groups);
  const inodeBitmaps = new Float64Array(sb.groups);
  const inodeTables = new Float64Array(sb.groups);
  let sum = 0;
  visitDescriptors(source, start, sb, (group, descriptor) => {
    if (!checksums.descriptorHolds(group, descriptor)) {
      throw new Inconsistent(`ext4: the descriptor of group ${group} fails its checksum`);
    }
    const { bitmap, inodeBitmap, inodeTable, free, isUninitialised } = parseDescriptor(descriptor);
    if (isUninitialised && checksums.kind === 'none') {
      throw new Inconsistent(`ext4: group ${group} has no bitmap, and nothing vouches for that`);
    }
    const isInside = (place: number): boolean => place >= sb.firstBlock && place < sb.blocks;
    if (!isInside(bitmap) || !isInside(inodeBitmap) || !isInside(inodeTable + sb.inodeTableBlocks - 1)) {
      throw new Inconsistent(`ext4: group ${group} has its metadata outside of the file system`);
    }
    bitmaps[group] = bitmap;
    bitmapSums[group] = checksums.bitmapSum(descriptor);
    freeClusters[group] = free;
    uninitialised[group] = isUninitialised ? 1 : 0;
    inodeBitmaps[group] = inodeBitmap;
    inodeTables[group] = inodeTable;
    sum += free;
  });
  if (sum * sb.clusterBlocks !== sb.freeBlocks) {
    const said = `its superblock says ${sb.freeBlocks}`;
    throw new Inconsistent(`ext4: its groups have ${sum * sb.clusterBlocks} free blocks, ${said}`);
  }
  const metadata = joined(sb, [bitmaps.slice(), inodeBitmaps, inodeTables]);
  return { bitmaps, bitmapSums, freeClusters, uninitialised, metadata };
}

/** Visits the descriptors in the order of the groups. Their bytes are valid until the next one. */
function visitDescriptors(
  source: StructureSource,
  start: number,
  sb: Ext4Superblock,
  visit: (group: number, descriptor: Buffer) => void,
): void {
  const perBlock = sb.blockBytes / sb.descriptorBytes;
  const scratch = Buffer.alloc(sb.blockBytes);
  for (let block = 0; block * perBlock < sb.groups; block++) {
    const raw = source.read(start + descriptorBlock(sb, block) * sb.blockBytes, sb.blockBytes, scratch);
    const count = Math.min(perBlock, sb.groups - block * perBlock);
    for (let i = 0; i < count; i++) {
      visit(block * perBlock + i, raw.subarray(i * sb.descriptorBytes, (i + 1) * sb.descriptorBytes));
    }
  }
}

function parseDescriptor(descriptor: Buffer): {
  bitmap: number;
  inodeBitmap: number;
  inodeTable: number;
  free: number;
  isUninitialised: boolean;
} {
  const wide = descriptor.length >= 64;
  const number = (low: number, high: number): number =>
    descriptor.readUInt32LE(low) + (wide ? descriptor.readUInt32LE(high) * 2 ** 32 : 0);
  return {
    bitmap: number(0x0, 0x20),
    inodeBitmap: number(0x4, 0x24),
    inodeTable: number(0x8, 0x28),
    free: descriptor.readUInt16LE(0xc) + (wide ? descriptor.readUInt16LE(0x2c) * 65536 : 0),
    isUninitialised: (descriptor.readUInt16LE(0x12) & GROUP_BLOCK_UNINIT) !== 0,
  };
}

/** The blocks of all bitmaps and inode tables as sorted ranges. It sorts the three lists of first blocks in place. */
function joined(
  sb: Ext4Superblock,
  [bitmaps, inodeBitmaps, tables]: [Float64Array, Float64Array, Float64Array],
): Float64Array {
  const lists = [
    { firsts: bitmaps.sort(), blocks: 1, next: 0 },
    { firsts: inodeBitmaps.sort(), blocks: 1, next: 0 },
    { firsts: tables.sort(), blocks: sb.inodeTableBlocks, next: 0 },
  ];
  // Never full: what is dropped from it would become free.
  const ranges = new RangeBuilder(3 * sb.groups + 1);
  let last = 0;
  for (let left = 3 * sb.groups; left > 0; left--) {
    const lowest = lists.reduce((a, b) => (first(b) < first(a) ? b : a));
    const from = first(lowest);
    ranges.add(Math.max(from, last), from + lowest.blocks);
    last = Math.max(last, from + lowest.blocks);
    lowest.next++;
  }
  return ranges.finish();
}

function first({ firsts, next }: { firsts: Float64Array; next: number }): number {
  return firsts[next] ?? Number.POSITIVE_INFINITY;
}
