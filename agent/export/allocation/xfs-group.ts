/** The headers of an XFS allocation group: free space (AGF), inodes (AGI), free list (AGFL); fs/xfs/libxfs/xfs_format.h. */
import { Inconsistent, type StructureSource } from './source.ts';
import type { LogHead } from './xfs-log.ts';
import { blockAt, groupLength, headerBlocks, type XfsSuperblock, xfsChecksumHolds } from './xfs-superblock.ts';

const AGF_MAGIC = 0x58414746;
const AGI_MAGIC = 0x58414749;
const AGFL_MAGIC = 0x5841464c;
const VERSION = 1;
const RO_COMPAT_FINOBT = 0x1;
const RO_COMPAT_RMAPBT = 0x2;
/** XFS_BTREE_MAXLEVELS. */
const LEVELS_MAX = 9;
const AGFL_HEADER = 36;

/** A file system whose log is clean: what its metadata are checked against. */
export interface XfsVolume {
  source: StructureSource;
  /** Byte of the disk at which it begins. */
  start: number;
  sb: XfsSuperblock;
  head: LogHead;
}

export interface XfsTree {
  /** Block in the group. */
  root: number;
  levels: number;
}

export interface XfsGroup {
  index: number;
  /** Blocks. */
  length: number;
  /** The free extents, in the order of their blocks. */
  byBlock: XfsTree;
  /** The same, in the order of their lengths. */
  byLength: XfsTree;
  freeBlocks: number;
  longest: number;
  /** Blocks of the trees that grow from the free list (free space, reverse mapping), their roots not counted. */
  treeBlocks: number;
  /** Those of the reverse mapping tree. */
  reverseBlocks: number;
  listBlocks: number;
  /** Blocks that are certainly in use: headers of all trees, free list, log. [first, behind the last]. */
  used: [number, number][];
}

/** Reads and checks the headers of the group `index`. Inconsistent when anything does not fit. */
export function readXfsGroup(volume: XfsVolume, index: number): XfsGroup {
  const { sb } = volume;
  const length = groupLength(sb, index);
  const [agf, agi, agfl] = readHeaders(volume, index);
  const expectHeader = (header: Buffer, magic: number): void => {
    const fits =
      header.readUInt32BE(0) === magic &&
      header.readUInt32BE(4) === VERSION &&
      header.readUInt32BE(8) === index &&
      header.readUInt32BE(12) === length;
    if (!fits) throw new Inconsistent(`xfs: a header of group ${index} is not its own`);
  };
  expectHeader(agf, AGF_MAGIC);
  expectHeader(agi, AGI_MAGIC);
  if (sb.checksums) {
    const ownList = agfl.readUInt32BE(0) === AGFL_MAGIC && agfl.readUInt32BE(4) === index;
    if (!ownList) throw new Inconsistent(`xfs: the free list of group ${index} is not its own`);
    expectXfsMark(volume, agf, { uuid: 64, sequence: 208, checksum: 216 }, `the free space header of group ${index}`);
    expectXfsMark(volume, agi, { uuid: 296, sequence: 320, checksum: 312 }, `the inode header of group ${index}`);
    expectXfsMark(volume, agfl, { uuid: 8, sequence: 24, checksum: 32 }, `the free list of group ${index}`);
  }
  const list = readFreeList(sb, agf, agfl, index);
  const used = [...treeRoots(sb, agf, agi), ...list].map((block): [number, number] => [block, block + 1]);
  used.push([0, headerBlocks(sb)]);
  if (sb.log.group === index) used.push([sb.log.block, sb.log.block + sb.log.blocks]);
  const group = {
    index,
    length,
    byBlock: { root: agf.readUInt32BE(16), levels: agf.readUInt32BE(28) },
    byLength: { root: agf.readUInt32BE(20), levels: agf.readUInt32BE(32) },
    freeBlocks: agf.readUInt32BE(52),
    longest: agf.readUInt32BE(56),
    treeBlocks: agf.readUInt32BE(60),
    reverseBlocks: hasFeature(sb, RO_COMPAT_RMAPBT) ? agf.readUInt32BE(80) - 1 : 0,
    listBlocks: list.length,
    used,
  };
  const inside = used.every(([first, behind]) => first >= 0 && behind <= length);
  const deep = [group.byBlock, group.byLength].every(({ levels }) => levels >= 1 && levels <= LEVELS_MAX);
  if (!inside || !deep || group.freeBlocks > length)
    throw new Inconsistent(`xfs: the headers of group ${index} are not plausible`);
  return group;
}

/** The second to fourth sector of the group. */
function readHeaders({ source, start, sb }: XfsVolume, index: number): [Buffer, Buffer, Buffer] {
  const bytes = source.read(start + blockAt(sb, index, 0), 4 * sb.sectorBytes);
  const sector = (at: number): Buffer => bytes.subarray(at * sb.sectorBytes, (at + 1) * sb.sectorBytes);
  return [sector(1), sector(2), sector(3)];
}

/** The blocks on the free list: a ring of numbers; in no tree, and reserved for the trees. */
function readFreeList(sb: XfsSuperblock, agf: Buffer, agfl: Buffer, index: number): number[] {
  const offset = sb.checksums ? AGFL_HEADER : 0;
  const size = Math.floor((sb.sectorBytes - offset) / 4);
  const first = agf.readUInt32BE(40);
  const last = agf.readUInt32BE(44);
  const count = agf.readUInt32BE(48);
  if (count === 0) return [];
  const between = last >= first ? last - first + 1 : size - first + last + 1;
  // Kernels before 4.5 counted one entry less in version 5: such a ring, once around its end, says which blocks only to them.
  if (first >= size || last >= size || between !== count) {
    throw new Inconsistent(`xfs: the free list of group ${index} does not agree with its length`);
  }
  return Array.from({ length: count }, (_, i) => agfl.readUInt32BE(offset + 4 * ((first + i) % size)));
}

/** Roots of the trees that this file system has; those of features that it has not are zero. */
function treeRoots(sb: XfsSuperblock, agf: Buffer, agi: Buffer): number[] {
  const freeSpace = [agf.readUInt32BE(16), agf.readUInt32BE(20), agi.readUInt32BE(20)];
  if (!sb.checksums) return freeSpace;
  const freeInodes = hasFeature(sb, RO_COMPAT_FINOBT) ? agi.readUInt32BE(328) : 0;
  const optional = [agf.readUInt32BE(24), agf.readUInt32BE(88), freeInodes];
  return [...freeSpace, ...optional.filter((root) => root !== 0)];
}

/** Has it this read-only compatible feature, which only version 5 can have? */
function hasFeature(sb: XfsSuperblock, feature: number): boolean {
  return sb.checksums && (sb.raw.readUInt32BE(212) & feature) !== 0;
}

/**
 * Inconsistent unless these version 5 metadata have their checksum, the file system's UUID, and were logged before the log's
 * head: what is ahead of the log belongs to another history of it (xfs_log_check_lsn). Offsets are bytes.
 */
export function expectXfsMark(
  volume: XfsVolume,
  bytes: Buffer,
  at: { uuid: number; sequence: number; checksum: number },
  what: string,
): void {
  if (!xfsChecksumHolds(bytes, at.checksum)) throw new Inconsistent(`xfs: ${what} fails its checksum`);
  if (Buffer.compare(bytes.subarray(at.uuid, at.uuid + 16), volume.sb.metaUuid) !== 0) {
    throw new Inconsistent(`xfs: ${what} is of another file system`);
  }
  const { head } = volume;
  const cycle = bytes.readUInt32BE(at.sequence);
  const block = bytes.readUInt32BE(at.sequence + 4);
  // NULLCOMMITLSN: never logged.
  const never = cycle === 0xffffffff && block === 0xffffffff;
  if (!never && (cycle > head.cycle || (cycle === head.cycle && block > head.block))) {
    throw new Inconsistent(`xfs: ${what} is newer than its log`);
  }
}
