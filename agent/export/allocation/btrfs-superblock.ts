/**
 * The superblock of btrfs and what it must say for the rest to be read (kernel: include/uapi/linux/btrfs_tree.h,
 * struct btrfs_super_block). A mount goes by the one at 64 KiB alone, and so does this; its copies must say the same, as they
 * do after each commit: where one of them does not, something else wrote there, or half a commit is on the disk.
 */
import { btrfsChecksumHolds } from './btrfs-checksums.ts';
import { Inconsistent, type StructureSource } from './source.ts';

export const SUPERBLOCK_AT = 64 * 1024;
/** Copies, on devices that reach behind them (btrfs_sb_offset). */
export const COPIES_AT = [64 * 2 ** 20, 256 * 2 ** 30] as const;
const SUPERBLOCK_BYTES = 4096;
const MAGIC = '_BHRfS_M';

/** Each copy says where it is, and its checksum differs accordingly: these bytes are not compared. */
const BYTENR = 0x30;
const AFTER_CHECKSUM = 0x20;
const AFTER_BYTENR = 0x38;

/** BTRFS_HEADER_FLAG_WRITTEN; all others tell of errors, seeds, dumps or conversions that were interrupted. */
const FLAG_WRITTEN = 1;
// What is known to leave the meaning of extents and chunks as read here. Any other bit (RAID 5/6 and RAID 1 with three and
// four copies, zones, the second extent tree format, RAID stripe tree, simple quotas, remapped chunks): not understood.
const INCOMPAT_KNOWN = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x200 | 0x400;
const INCOMPAT_METADATA_UUID = 0x400;
/** Free space tree and that it is valid, fs-verity, block group tree. */
const COMPAT_RO_KNOWN = 0x1 | 0x2 | 0x4 | 0x8;
const COMPAT_RO_BLOCK_GROUP_TREE = 0x8;
const DEVICE_ITEM = 0xc9;
export const DEVICE_ITEM_BYTES = 98;
const SYSTEM_CHUNKS_AT = 0x32b;
const SYSTEM_CHUNKS_BYTES = 2048;
/** BTRFS_MAX_LEVEL is 8. */
const LEVEL_MAX = 7;

/** Where a tree's root node is and what it must say of itself. */
export interface TreeRoot {
  /** Object id of the tree, which all of its nodes name as their owner. */
  owner: number;
  logical: number;
  generation: number;
  level: number;
}

export interface BtrfsSuperblock {
  /** What nodes carry as the file system's id. */
  nodeUuid: Buffer;
  checksumType: number;
  rootTree: TreeRoot;
  chunkTree: TreeRoot;
  /** Sum of all extents, logical bytes. */
  bytesUsed: number;
  sectorBytes: number;
  nodeBytes: number;
  /** Block group items are in a tree of their own. */
  blockGroupTree: boolean;
  device: BtrfsDevice;
  /** System chunks as key, item, key, item. */
  systemChunks: Buffer;
}

export interface BtrfsDevice {
  id: number;
  /** Size as the file system knows it, bytes. */
  bytes: number;
  /** Sum of all chunks' stripes, bytes. */
  chunkBytes: number;
  uuid: Buffer;
}

/** A little-endian 64-bit number. Above 2^53 it is rounded: callers compare it with what is smaller, or ask for a safe one. */
export function u64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
}

/** A struct btrfs_dev_item, as in the superblock and in the chunk tree; `item` has all of its 98 bytes. */
export function parseDevice(item: Buffer): BtrfsDevice {
  return {
    id: u64(item, 0),
    bytes: u64(item, 8),
    chunkBytes: u64(item, 16),
    uuid: item.subarray(66, 82),
  };
}

/** The superblock of the file system in [start, end), or undefined when there is none. Inconsistent: it is not to be trusted. */
export function readBtrfsSuperblock(source: StructureSource, start: number, end: number): BtrfsSuperblock | undefined {
  if (end - start < SUPERBLOCK_AT + SUPERBLOCK_BYTES) return undefined;
  const raw = source.read(start + SUPERBLOCK_AT, SUPERBLOCK_BYTES);
  if (raw.toString('latin1', 0x40, 0x48) !== MAGIC) return undefined;
  const checksumType = raw.readUInt16LE(0xc4);
  if (!btrfsChecksumHolds(checksumType, raw)) throw new Inconsistent('btrfs: its superblock fails its checksum');
  refuseUnknown(raw);
  const sb = parse(raw, checksumType);
  if (sb.device.bytes > end - start) throw new Inconsistent('btrfs: it is larger than what it is on');
  compareCopies(source, start, sb, raw);
  return sb;
}

function refuseUnknown(raw: Buffer): void {
  const known = (at: number, bits: number): boolean =>
    (raw.readUInt32LE(at) & ~bits) === 0 && raw.readUInt32LE(at + 4) === 0;
  if (!known(AFTER_BYTENR, FLAG_WRITTEN))
    throw new Inconsistent('btrfs: its superblock has flags that are not known here');
  if (!known(0xac, 0) || !known(0xb4, COMPAT_RO_KNOWN) || !known(0xbc, INCOMPAT_KNOWN)) {
    throw new Inconsistent('btrfs: it has features that are not known here');
  }
  // Blocks of the log, and extents that files got since the last commit and that the log names, are in no extent tree yet.
  if (u64(raw, 0x60) !== 0) throw new Inconsistent('btrfs: it has a log to be replayed');
  if (u64(raw, 0x88) !== 1) throw new Inconsistent('btrfs: it has more than one device');
}

function parse(raw: Buffer, checksumType: number): BtrfsSuperblock {
  const sectorBytes = raw.readUInt32LE(0x90);
  const nodeBytes = raw.readUInt32LE(0x94);
  const generation = u64(raw, 0x48);
  const metadataUuid = (raw.readUInt32LE(0xbc) & INCOMPAT_METADATA_UUID) !== 0;
  const nodeUuid = metadataUuid ? raw.subarray(0x23b, 0x24b) : raw.subarray(0x20, 0x30);
  const deviceItem = raw.subarray(DEVICE_ITEM, DEVICE_ITEM + DEVICE_ITEM_BYTES);
  const device = parseDevice(deviceItem);
  const systemChunkBytes = raw.readUInt32LE(0xa0);
  const sb = {
    nodeUuid,
    checksumType,
    rootTree: { owner: 1, logical: u64(raw, 0x50), generation, level: raw.readUInt8(0xc6) },
    chunkTree: { owner: 3, logical: u64(raw, 0x58), generation: u64(raw, 0xa4), level: raw.readUInt8(0xc7) },
    bytesUsed: u64(raw, 0x78),
    sectorBytes,
    nodeBytes,
    blockGroupTree: (raw.readUInt32LE(0xb4) & COMPAT_RO_BLOCK_GROUP_TREE) !== 0,
    device,
    systemChunks: raw.subarray(SYSTEM_CHUNKS_AT, SYSTEM_CHUNKS_AT + Math.min(systemChunkBytes, SYSTEM_CHUNKS_BYTES)),
  };
  const plausible =
    u64(raw, BYTENR) === SUPERBLOCK_AT &&
    isPowerOfTwo(sectorBytes, 4096, 65536) &&
    isPowerOfTwo(nodeBytes, sectorBytes, 65536) &&
    Number.isSafeInteger(generation) &&
    sb.chunkTree.generation <= generation &&
    sb.rootTree.level <= LEVEL_MAX &&
    sb.chunkTree.level <= LEVEL_MAX &&
    systemChunkBytes <= SYSTEM_CHUNKS_BYTES &&
    device.bytes >= SUPERBLOCK_AT + SUPERBLOCK_BYTES &&
    device.bytes === u64(raw, 0x70) &&
    device.chunkBytes <= device.bytes &&
    sb.bytesUsed <= device.chunkBytes &&
    deviceItem.subarray(82, 98).equals(nodeUuid);
  if (!plausible) throw new Inconsistent('btrfs: its superblock is not plausible');
  return sb;
}

function isPowerOfTwo(value: number, min: number, max: number): boolean {
  return value >= min && value <= max && (value & (value - 1)) === 0;
}

/** Inconsistent when a copy is not of this file system as it is now. */
function compareCopies(source: StructureSource, start: number, sb: BtrfsSuperblock, raw: Buffer): void {
  for (const at of COPIES_AT) {
    // As in write_dev_supers: none where it would be the device's last bytes.
    if (at + SUPERBLOCK_BYTES >= sb.device.bytes) break;
    const copy = source.read(start + at, SUPERBLOCK_BYTES);
    const same =
      u64(copy, BYTENR) === at &&
      copy.subarray(AFTER_CHECKSUM, BYTENR).equals(raw.subarray(AFTER_CHECKSUM, BYTENR)) &&
      copy.subarray(AFTER_BYTENR).equals(raw.subarray(AFTER_BYTENR));
    if (!same || !btrfsChecksumHolds(sb.checksumType, copy)) {
      throw new Inconsistent(`btrfs: the copy of its superblock at ${at} is another one`);
    }
  }
}
