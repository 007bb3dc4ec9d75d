/**
 * Free blocks of an ext2, ext3 or ext4 file system from its own bitmaps (kernel: Documentation/filesystems/ext4/).
 * Only a file system that was unmounted cleanly is trusted: with a journal to be replayed (needs_recovery) the bitmaps on
 * disk may lack allocations that exist in the journal only; the replay on the copy would then point at blocks that were
 * not copied. Everything unknown or contradictory makes the whole file system Inconsistent, and it is copied in full.
 *
 * A superblock can outlive its file system: the area may belong to somebody else by now. What must agree for it to be
 * trusted: its checksum, those of all descriptors and bitmaps (metadata_csum, gdt_csum), its copies in other groups, its
 * count of free blocks with the sum of the groups', and theirs with their bitmaps. A group without a bitmap counts only
 * when its descriptor has a checksum.
 */
import { Ext4Checksums } from './ext4-checksums.ts';
import { type FreeSpace, RangeBuilder, subtract } from './ranges.ts';
import { Inconsistent, type StructureSource } from './source.ts';

const SUPERBLOCK_AT = 1024;
const MAGIC = 0xef53;
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
const GROUP_BLOCK_UNINIT = 0x2;
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

interface Superblock {
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

interface Group {
  /** All bytes of its descriptor. */
  descriptor: Buffer;
  bitmap: number;
  inodeBitmap: number;
  inodeTable: number;
  freeClusters: number;
  uninitialised: boolean;
}

/** Free ranges of the file system in [start, end), or undefined when there is none. Inconsistent: there is one, not to be trusted. */
export function ext4Free(source: StructureSource, start: number, end: number): FreeSpace | undefined {
  if (end - start < 64 * 1024) return undefined;
  const raw = source.read(start + SUPERBLOCK_AT, 1024);
  if (raw.readUInt16LE(0x38) !== MAGIC) return undefined;
  const sb = parseSuperblock(raw, end - start);
  const checksums = new Ext4Checksums(raw);
  if (!checksums.superblockHolds()) throw new Inconsistent('ext4: its superblock fails its checksum');
  compareCopies(source, start, sb, raw);
  const groups = readGroups(source, start, sb, checksums);
  const metadata = metadataBlocks(sb, groups);
  const free = new RangeBuilder();
  groups.forEach((group, index) => {
    const first = sb.firstBlock + index * sb.blocksPerGroup;
    const last = Math.min(sb.blocks, first + sb.blocksPerGroup);
    const visit = (from: number, to: number): void => {
      subtract(from, to, metadata, (a, b) => free.add(start + a * sb.blockBytes, start + b * sb.blockBytes));
    };
    if (group.uninitialised) visit(Math.min(last, first + leadingMetadata(sb, index)), last);
    else {
      const bitmap = source.read(start + group.bitmap * sb.blockBytes, sb.blockBytes);
      const bytes = sb.blocksPerGroup / sb.clusterBlocks / 8;
      if (!checksums.bitmapHolds(group.descriptor, bitmap.subarray(0, bytes))) {
        throw new Inconsistent(`ext4: the bitmap of group ${index} fails its checksum`);
      }
      readBitmap(bitmap, sb, group, first, last, visit);
    }
  });
  return { end: start + sb.blocks * sb.blockBytes, free: free.finish() };
}

function parseSuperblock(raw: Buffer, room: number): Superblock {
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
function hasSuperblock(sb: Superblock, group: number): boolean {
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
function descriptorBlock(sb: Superblock, index: number): number {
  // The superblock stands at byte 1024: in block 1 of 1 KiB blocks, else in block 0, whatever firstBlock says with bigalloc.
  const superblock = sb.blockBytes === 1024 ? 1 : 0;
  if (!sb.metaGroups || index < sb.firstMetaGroup) return superblock + 1 + index;
  const group = index * (sb.blockBytes / sb.descriptorBytes);
  const first = sb.firstBlock + group * sb.blocksPerGroup;
  if (group === 0) return superblock + 1;
  return first + (hasSuperblock(sb, group) ? 1 : 0);
}

/** Inconsistent when a copy of the superblock is not of this file system as it is now: something else was written there. */
function compareCopies(source: StructureSource, start: number, sb: Superblock, raw: Buffer): void {
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

function readGroups(source: StructureSource, start: number, sb: Superblock, checksums: Ext4Checksums): Group[] {
  const perBlock = sb.blockBytes / sb.descriptorBytes;
  const wide = sb.descriptorBytes >= 64;
  const groups: Group[] = [];
  for (let block = 0; block * perBlock < sb.groups; block++) {
    const raw = source.read(start + descriptorBlock(sb, block) * sb.blockBytes, sb.blockBytes);
    for (let i = 0; i < perBlock && groups.length < sb.groups; i++) {
      const at = i * sb.descriptorBytes;
      const number = (low: number, high: number): number =>
        raw.readUInt32LE(at + low) + (wide ? raw.readUInt32LE(at + high) * 2 ** 32 : 0);
      const descriptor = raw.subarray(at, at + sb.descriptorBytes);
      if (!checksums.descriptorHolds(groups.length, descriptor)) {
        throw new Inconsistent(`ext4: the descriptor of group ${groups.length} fails its checksum`);
      }
      const group = {
        descriptor,
        bitmap: number(0x0, 0x20),
        inodeBitmap: number(0x4, 0x24),
        inodeTable: number(0x8, 0x28),
        freeClusters: raw.readUInt16LE(at + 0xc) + (wide ? raw.readUInt16LE(at + 0x2c) * 65536 : 0),
        uninitialised: (raw.readUInt16LE(at + 0x12) & GROUP_BLOCK_UNINIT) !== 0,
      };
      if (group.uninitialised && checksums.kind === 'none') {
        throw new Inconsistent(`ext4: group ${groups.length} has no bitmap, and nothing vouches for that`);
      }
      const inside = [group.bitmap, group.inodeBitmap, group.inodeTable + sb.inodeTableBlocks - 1].every(
        (place) => place >= sb.firstBlock && place < sb.blocks,
      );
      if (!inside) throw new Inconsistent(`ext4: group ${groups.length} has its metadata outside of the file system`);
      groups.push(group);
    }
  }
  const free = groups.reduce((sum, { freeClusters }) => sum + freeClusters, 0) * sb.clusterBlocks;
  if (free !== sb.freeBlocks) {
    throw new Inconsistent(`ext4: its groups have ${free} free blocks, its superblock says ${sb.freeBlocks}`);
  }
  return groups;
}

/** Bitmaps and inode tables of all groups, as block ranges: with flex_bg they lie in other groups, also uninitialised ones. */
function metadataBlocks(sb: Superblock, groups: readonly Group[]): Float64Array {
  const ranges: [number, number][] = [];
  for (const group of groups) {
    ranges.push([group.bitmap, group.bitmap + 1], [group.inodeBitmap, group.inodeBitmap + 1]);
    ranges.push([group.inodeTable, group.inodeTable + sb.inodeTableBlocks]);
  }
  ranges.sort((a, b) => a[0] - b[0]);
  const merged = new RangeBuilder(Number.POSITIVE_INFINITY);
  let last = 0;
  for (const [from, to] of ranges) {
    merged.add(Math.max(from, last), to);
    last = Math.max(last, to);
  }
  return merged.finish();
}

/** Blocks at the start of a group without a bitmap that are to be kept: superblock copy, descriptors, room for more of them. */
function leadingMetadata(sb: Superblock, group: number): number {
  const table = Math.ceil((sb.groups * sb.descriptorBytes) / sb.blockBytes);
  // A meta group's descriptor block or its copy follows the superblock's copy.
  const more = sb.metaGroups ? 1 : 0;
  return hasSuperblock(sb, group) ? 1 + table + sb.reservedTableBlocks + more : more;
}

/** Visits the free blocks of one group; Inconsistent when they are not as many as the group's descriptor says. */
function readBitmap(
  bitmap: Buffer,
  sb: Superblock,
  group: Group,
  first: number,
  last: number,
  visit: (from: number, to: number) => void,
): void {
  const clusters = Math.ceil((last - first) / sb.clusterBlocks);
  const block = (bit: number): number => Math.min(last, first + bit * sb.clusterBlocks);
  let free = 0;
  let open = -1;
  for (let bit = 0; bit < clusters; ) {
    const byte = bitmap[bit >> 3] ?? 0xff;
    // Whole bytes of one kind are most of every bitmap.
    const whole = (bit & 7) === 0 && bit + 8 <= clusters && (byte === 0 || byte === 0xff);
    const step = whole ? 8 : 1;
    const used = (byte >> (bit & 7)) & 1;
    if (used === 0) {
      free += step;
      if (open < 0) open = bit;
    } else if (open >= 0) {
      visit(block(open), block(bit));
      open = -1;
    }
    bit += step;
  }
  if (open >= 0) visit(block(open), last);
  if (free !== group.freeClusters) {
    throw new Inconsistent(
      `ext4: the group at block ${first} has ${free} free clusters, its descriptor says ${group.freeClusters}`,
    );
  }
}
