/**
 * The superblock of an XFS file system, its copies in the other allocation groups, and what all its metadata have in common
 * (kernel: fs/xfs/libxfs/xfs_format.h, xfs_sb.c). Numbers are big-endian, checksums little-endian.
 */
import { crc32c } from './crc.ts';
import { Inconsistent, type StructureSource } from './source.ts';

const MAGIC = 0x58465342;
const KNOWN_V4 = 0xfdf0;
const V4_DIRV2 = 0x2000;
const V4_LOGV2 = 0x400;
const V4_MOREBITS = 0x8000;
const FEATURES2_LAZY_COUNT = 0x2;
const FEATURES2_CRC = 0x100;
// What is known to leave the meaning of the free space B+trees as read here. Any other bit: not understood.
/** LAZYSBCOUNT, ATTR2, PROJID32BIT, CRC, FTYPE. */
const FEATURES2_KNOWN = FEATURES2_LAZY_COUNT | 0x8 | 0x80 | FEATURES2_CRC | 0x200;
/** FINOBT, RMAPBT, REFLINK, INOBTCNT. */
const RO_COMPAT_KNOWN = 0xf;
const INCOMPAT_META_UUID = 0x4;
const INCOMPAT_NEEDS_REPAIR = 0x10;
/** FTYPE, SPINODES, META_UUID, BIGTIME, NREXT64, EXCHRANGE, PARENT. Not NEEDSREPAIR, METADIR, ZONED. */
const INCOMPAT_KNOWN = 0x1 | 0x2 | INCOMPAT_META_UUID | 0x8 | 0x20 | 0x40 | 0x80;
const CHECKSUM_AT = 224;
const META_UUID_AT = 248;
/** End of what version 4 has in its superblock; mkfs and the kernel keep the rest of the sector zero. */
const V4_END = 208;
const MIN_GROUP_BYTES = 16 * 1024 * 1024;
const MAX_GROUP_BYTES = 2 ** 40;
const MIN_GROUP_BLOCKS = 64;
/** Each is a place on the disk that is read. A 10 TiB file system that grew from groups of 320 MiB has as many. */
const GROUPS_MAX = 32 * 1024;
/** XFS_MAX_LOG_BYTES. */
const MAX_LOG_BYTES = 2 ** 31;
/** What no tool changes in the superblock without its copies: [offset, bytes] of sizes, UUID, log, geometry. */
const SAME_IN_COPIES = [
  [0, 48],
  [48, 8],
  [80, 20],
  [102, 6],
  [120, 5],
] as const;

export interface XfsSuperblock {
  /** Version 5: all metadata have checksums and name their owner. */
  checksums: boolean;
  /** Counters are made anew from the groups' headers after a crash, which therefore count the blocks of trees too. */
  lazyCount: boolean;
  logVersion2: boolean;
  blockBytes: number;
  sectorBytes: number;
  blocks: number;
  freeBlocks: number;
  groups: number;
  /** Blocks of every group but the last. */
  groupBlocks: number;
  /** The internal log: group, block in it, number of blocks. */
  log: { group: number; block: number; blocks: number };
  /** Stands in the log's records. */
  uuid: Buffer;
  /** Stands in the metadata. */
  metaUuid: Buffer;
  /** The sector as it was read. */
  raw: Buffer;
}

/** The superblock of the file system at `start` with `room` bytes, or undefined when there is none. Inconsistent: not to be trusted. */
export function readXfsSuperblock(source: StructureSource, start: number, room: number): XfsSuperblock | undefined {
  const head = source.read(start, 512);
  if (head.readUInt32BE(0) !== MAGIC) return undefined;
  const sectorBytes = head.readUInt16BE(102);
  if (!isPower(sectorBytes, 512, 32768) || sectorBytes > room) {
    throw new Inconsistent('xfs: its sector size is not plausible');
  }
  const raw = source.read(start, sectorBytes);
  const checksums = checkVersion(raw);
  const logStart = number64(raw, 48);
  if (logStart === 0) throw new Inconsistent('xfs: its log is on another device, its state cannot be seen');
  const groupNumberScale = 2 ** raw.readUInt8(124);
  const sb: XfsSuperblock = {
    checksums,
    lazyCount: (raw.readUInt32BE(200) & FEATURES2_LAZY_COUNT) !== 0,
    logVersion2: (raw.readUInt16BE(100) & V4_LOGV2) !== 0,
    blockBytes: raw.readUInt32BE(4),
    sectorBytes,
    blocks: number64(raw, 8),
    freeBlocks: number64(raw, 144),
    groups: raw.readUInt32BE(88),
    groupBlocks: raw.readUInt32BE(84),
    log: {
      group: Math.floor(logStart / groupNumberScale),
      block: logStart % groupNumberScale,
      blocks: raw.readUInt32BE(96),
    },
    uuid: raw.subarray(32, 48),
    metaUuid: raw.subarray(32, 48),
    raw,
  };
  if (checksums && raw.readUInt32BE(216) & INCOMPAT_META_UUID) {
    sb.metaUuid = raw.subarray(META_UUID_AT, META_UUID_AT + 16);
  }
  if (!isPlausible(sb, room)) throw new Inconsistent('xfs: its superblock is not plausible');
  return sb;
}

/** Checks version, features and checksum; returns whether it is version 5. */
function checkVersion(raw: Buffer): boolean {
  const versionBits = raw.readUInt16BE(100);
  const version = versionBits & 0xf;
  const features2 = raw.readUInt32BE(200);
  if (version !== 4 && version !== 5) throw new Inconsistent(`xfs: its version ${version} is not known here`);
  const v5 = version === 5;
  if (v5 && !xfsChecksumHolds(raw, CHECKSUM_AT)) throw new Inconsistent('xfs: its superblock fails its checksum');
  if (!v5 && raw.subarray(V4_END).some((byte) => byte !== 0)) {
    throw new Inconsistent('xfs: something else stands in the sector of its superblock');
  }
  const incompat = v5 ? raw.readUInt32BE(216) : 0;
  if (incompat & INCOMPAT_NEEDS_REPAIR) throw new Inconsistent('xfs: it is marked as in need of repair');
  const known =
    (versionBits & ~(KNOWN_V4 | 0xf)) === 0 &&
    (versionBits & V4_DIRV2) !== 0 &&
    (features2 & ~FEATURES2_KNOWN) === 0 &&
    // Old kernels wrote the bits to either place; which one holds is then anybody's guess.
    features2 === raw.readUInt32BE(204) &&
    (features2 === 0 || (versionBits & V4_MOREBITS) !== 0) &&
    ((features2 & FEATURES2_CRC) !== 0) === v5 &&
    (!v5 ||
      (raw.readUInt32BE(208) === 0 &&
        (raw.readUInt32BE(212) & ~RO_COMPAT_KNOWN) === 0 &&
        (incompat & ~INCOMPAT_KNOWN) === 0));
  if (!known) throw new Inconsistent('xfs: it has features that are not known here');
  if (v5 && raw.readUInt32BE(220) !== 0) throw new Inconsistent('xfs: features of its log say that it is in use');
  // sb_inprogress, sb_flags, sb_shared_vn.
  if (raw.readUInt8(126) !== 0 || raw.readUInt8(178) !== 0 || raw.readUInt8(179) !== 0) {
    throw new Inconsistent('xfs: it was not completed, or is marked for something unknown');
  }
  return v5;
}

function isPlausible(sb: XfsSuperblock, room: number): boolean {
  const { raw, blockBytes, groupBlocks, log } = sb;
  return (
    isPower(blockBytes, sb.checksums ? 1024 : 512, 65536) &&
    raw.readUInt8(120) === Math.log2(blockBytes) &&
    raw.readUInt8(121) === Math.log2(sb.sectorBytes) &&
    sb.sectorBytes <= blockBytes &&
    groupBlocks * blockBytes >= MIN_GROUP_BYTES &&
    groupBlocks * blockBytes <= MAX_GROUP_BYTES &&
    raw.readUInt8(124) === Math.ceil(Math.log2(groupBlocks)) &&
    sb.groups > 0 &&
    sb.groups <= GROUPS_MAX &&
    sb.groups === Math.ceil(sb.blocks / groupBlocks) &&
    sb.blocks * blockBytes <= room &&
    groupLength(sb, sb.groups - 1) >= MIN_GROUP_BLOCKS &&
    sb.freeBlocks <= sb.blocks &&
    log.group < sb.groups &&
    log.blocks > 0 &&
    log.blocks * blockBytes <= MAX_LOG_BYTES &&
    log.block >= headerBlocks(sb) &&
    log.block + log.blocks <= groupLength(sb, log.group)
  );
}

/** Blocks of the group `group`. */
export function groupLength(sb: XfsSuperblock, group: number): number {
  return Math.min(sb.groupBlocks, sb.blocks - group * sb.groupBlocks);
}

/** Blocks that the four headers of a group take: superblock, free space, inodes, free list. */
export function headerBlocks(sb: XfsSuperblock): number {
  return Math.ceil((4 * sb.sectorBytes) / sb.blockBytes);
}

/** Bytes from the file system's start to the block `block` of the group `group`. */
export function blockAt(sb: XfsSuperblock, group: number, block: number): number {
  return (group * sb.groupBlocks + block) * sb.blockBytes;
}

/** Inconsistent when the copy of the superblock in the group `group` is not of this file system as it is now. */
export function compareXfsCopy(source: StructureSource, start: number, sb: XfsSuperblock, group: number): void {
  const copy = source.read(start + blockAt(sb, group, 0), sb.sectorBytes);
  const same = SAME_IN_COPIES.every(
    ([at, bytes]) => Buffer.compare(sb.raw.subarray(at, at + bytes), copy.subarray(at, at + bytes)) === 0,
  );
  if (!same || (sb.checksums && !xfsChecksumHolds(copy, CHECKSUM_AT))) {
    throw new Inconsistent(`xfs: the copy of its superblock in group ${group} is another one`);
  }
}

/** Does the CRC-32C at `at` hold for these bytes (xfs_cksum.h: itself counted as zeros, inverted, little-endian)? */
export function xfsChecksumHolds(bytes: Buffer, at: number): boolean {
  const head = crc32c(0xffffffff, bytes.subarray(0, at));
  const crc = crc32c(crc32c(head, Buffer.alloc(4)), bytes.subarray(at + 4));
  return ~crc >>> 0 === bytes.readUInt32LE(at);
}

/** A number of 64 bits. One beyond what a double holds exactly is far beyond every bound that is checked here. */
function number64(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4);
}

function isPower(value: number, low: number, high: number): boolean {
  return value >= low && value <= high && (value & (value - 1)) === 0;
}
