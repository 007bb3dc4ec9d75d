/** The superblock of an ext2, ext3 or ext4 file system, its copies, and where it puts the groups' structures. */
import { Inconsistent, type StructureSource } from './source.ts';

/** s_state: cleanly unmounted and nothing else (no errors, no orphans being recovered). */
const STATE_CLEAN = 1;

// What is known to leave the meaning of block bitmaps as read here. Any other bit: not understood.
const COMPAT_KNOWN = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x200 | 0x400 | 0x800 | 0x1000;
const INCOMPAT_KNOWN = 0x2 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000;
const RO_COMPAT_KNOWN =
  0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x200 | 0x400 | 0x1000 | 0x2000 | 0x8000 | 0x10000;
const COMPAT_SPARSE_SUPER2 = 0x200;
const INCOMPAT_RECOVER = 0x4;
const INCOMPAT_META_BG = 0x10;
const INCOMPAT_64BIT = 0x80;
const RO_COMPAT_SPARSE_SUPER = 0x1;
const RO_COMPAT_BIGALLOC = 0x200;
/** 1 EiB of 4 KiB blocks has more; 64 TiB in 128 MiB groups is what is taken as plausible. */
const GROUPS_MAX = 512 * 1024;
/** Copies of the superblock that are compared at most; with sparse_super no file system has as many. */
const COPIES_MAX = 64;
/** What no tool changes in the superblock without its copies: [offset, bytes] of inodes, blocks, geometry, magic, UUID. */
const SAME_IN_COPIES = [
  [0x0, 8],
  [0x14, 24],
  [0x38, 2],
  [0x68, 16],
] as const;

export interface Ext4Superblock {
  blocks: number;
  freeBlocks: number;
  firstBlock: number;
  blockBytes: number;
  /** Blocks of one bit in a bitmap: 1 without bigalloc. */
  clusterBlocks: number;
  blocksPerGroup: number;
  groups: number;
  inodeTableBlocks: number;
  descriptorBytes: number;
  firstMetaGroup: number;
  reservedTableBlocks: number;
  metaGroups: boolean;
  sparse: boolean;
  /** The two groups of sparse_super2, or undefined. */
  backupGroups: readonly number[] | undefined;
}

/** `raw` has the superblock's 1024 bytes, `room` bytes are there for the file system. Inconsistent when it is not to be trusted. */
export function parseSuperblock(raw: Buffer, room: number): Ext4Superblock {
  const compat = raw.readUInt32LE(0x5c);
  const incompat = raw.readUInt32LE(0x60);
  const roCompat = raw.readUInt32LE(0x64);
  if (incompat & INCOMPAT_RECOVER) throw new Inconsistent('ext4: its journal needs recovery');
  if (raw.readUInt16LE(0x3a) !== STATE_CLEAN) throw new Inconsistent('ext4: it was not unmounted cleanly');
  if ((compat & ~COMPAT_KNOWN) !== 0 || (incompat & ~INCOMPAT_KNOWN) !== 0 || (roCompat & ~RO_COMPAT_KNOWN) !== 0) {
    throw new Inconsistent('ext4: it has features that are not known here');
  }
  const blockBytes = 1024 * 2 ** raw.readUInt32LE(0x18);
  const clusterBytes = 1024 * 2 ** raw.readUInt32LE(0x1c);
  const bigalloc = (roCompat & RO_COMPAT_BIGALLOC) !== 0;
  const clusterBlocks = bigalloc ? clusterBytes / blockBytes : 1;
  const wide = (incompat & INCOMPAT_64BIT) !== 0;
  const blocks = raw.readUInt32LE(0x4) + (wide ? raw.readUInt32LE(0x150) * 2 ** 32 : 0);
  const firstBlock = raw.readUInt32LE(0x14);
  const blocksPerGroup = raw.readUInt32LE(0x20);
  const inodesPerGroup = raw.readUInt32LE(0x28);
  const inodeBytes = raw.readUInt32LE(0x4c) === 0 ? 128 : raw.readUInt16LE(0x58);
  const descriptorBytes = wide ? raw.readUInt16LE(0xfe) : 32;
  const plausible =
    blockBytes <= 65536 &&
    Number.isInteger(clusterBlocks) &&
    clusterBlocks >= 1 &&
    firstBlock === (blockBytes === 1024 && !bigalloc ? 1 : 0) &&
    blocks > firstBlock &&
    blocks * blockBytes <= room &&
    blocksPerGroup > 0 &&
    blocksPerGroup % (8 * clusterBlocks) === 0 &&
    // A group's bitmap is one block.
    blocksPerGroup / clusterBlocks <= blockBytes * 8 &&
    inodesPerGroup > 0 &&
    inodesPerGroup <= blockBytes * 8 &&
    inodeBytes >= 128 &&
    inodeBytes <= blockBytes &&
    descriptorBytes >= (wide ? 64 : 32) &&
    descriptorBytes <= 1024 &&
    (descriptorBytes & (descriptorBytes - 1)) === 0;
  const groups = Math.ceil((blocks - firstBlock) / blocksPerGroup);
  if (!plausible || groups > GROUPS_MAX) throw new Inconsistent('ext4: its superblock is not plausible');
  return {
    blocks,
    freeBlocks: raw.readUInt32LE(0xc) + (wide ? raw.readUInt32LE(0x158) * 2 ** 32 : 0),
    firstBlock,
    blockBytes,
    clusterBlocks,
    blocksPerGroup,
    groups,
    inodeTableBlocks: Math.ceil((inodesPerGroup * inodeBytes) / blockBytes),
    descriptorBytes,
    firstMetaGroup: raw.readUInt32LE(0x104),
    reservedTableBlocks: raw.readUInt16LE(0xce),
    metaGroups: (incompat & INCOMPAT_META_BG) !== 0,
    sparse: (roCompat & RO_COMPAT_SPARSE_SUPER) !== 0,
    backupGroups: compat & COMPAT_SPARSE_SUPER2 ? [raw.readUInt32LE(0x24c), raw.readUInt32LE(0x250)] : undefined,
  };
}

/** Does this group begin with a copy of the superblock? */
function hasSuperblock(sb: Ext4Superblock, group: number): boolean {
  if (group === 0) return true;
  if (sb.backupGroups) return sb.backupGroups.includes(group);
  if (!sb.sparse || group === 1) return true;
  return [3, 5, 7].some((base) => {
    let power = base;
    while (power < group) power *= base;
    return power === group;
  });
}

/** Block of the table of descriptors' `index`-th block. */
export function descriptorBlock(sb: Ext4Superblock, index: number): number {
  // The superblock stands at byte 1024: in block 1 of 1 KiB blocks, else in block 0, whatever firstBlock says with bigalloc.
  const superblock = sb.blockBytes === 1024 ? 1 : 0;
  if (!sb.metaGroups || index < sb.firstMetaGroup) return superblock + 1 + index;
  const group = index * (sb.blockBytes / sb.descriptorBytes);
  const first = sb.firstBlock + group * sb.blocksPerGroup;
  if (group === 0) return superblock + 1;
  return first + (hasSuperblock(sb, group) ? 1 : 0);
}

/** Inconsistent when a copy of the superblock is not of this file system as it is now: something else was written there. */
export function compareCopies(source: StructureSource, start: number, sb: Ext4Superblock, raw: Buffer): void {
  let compared = 0;
  for (let group = 1; group < sb.groups && compared < COPIES_MAX; group++) {
    if (!hasSuperblock(sb, group)) continue;
    compared++;
    const copy = source.read(start + (sb.firstBlock + group * sb.blocksPerGroup) * sb.blockBytes, 1024);
    const same = SAME_IN_COPIES.every(
      ([at, bytes]) => Buffer.compare(raw.subarray(at, at + bytes), copy.subarray(at, at + bytes)) === 0,
    );
    if (!same) throw new Inconsistent(`ext4: the copy of its superblock in group ${group} is another one`);
  }
}

/** Blocks at the start of a group without a bitmap that are to be kept: superblock copy, descriptors, room for more of them. */
export function leadingMetadata(sb: Ext4Superblock, group: number): number {
  const table = Math.ceil((sb.groups * sb.descriptorBytes) / sb.blockBytes);
  // A meta group's descriptor block or its copy follows the superblock's copy.
  const more = sb.metaGroups ? 1 : 0;
  return hasSuperblock(sb, group) ? 1 + table + sb.reservedTableBlocks + more : more;
}
