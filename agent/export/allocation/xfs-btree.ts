/** The two B+trees of an allocation group's free space (fs/xfs/libxfs/xfs_alloc_btree.c, xfs_btree.c). */
import { Inconsistent } from './source.ts';
import { expectXfsMark, type XfsGroup, type XfsTree, type XfsVolume } from './xfs-group.ts';
import { blockAt, headerBlocks } from './xfs-superblock.ts';

const MAGICS = {
  byBlock: { plain: 0x41425442, checksums: 0x41423342 },
  byLength: { plain: 0x41425443, checksums: 0x41423343 },
};
const NONE = 0xffffffff;
const HEADER = 16;
const HEADER_CHECKSUMS = 56;
/** Start and length, blocks: a leaf's record and a node's key. */
const RECORD = 8;
const POINTER = 4;
/** Disk addresses in metadata count these. */
const BASIC_BLOCK = 512;

type Order = keyof typeof MAGICS;

interface Level {
  /** The block that was read last on this level, and its right sibling. */
  last: number;
  right: number;
}

/** What is counted of a tree's extents. The sum is the same in any order, and tells one set of extents from another. */
class Tally {
  blocks = 0;
  longest = 0;
  #low = 0;
  #high = 0;

  add(first: number, count: number): void {
    this.blocks += count;
    this.longest = Math.max(this.longest, count);
    // Two multiplications by odd constants with a fold between (as in murmur3's finalizer), with two seeds.
    this.#low = (this.#low + mix(first, count, 0x85ebca6b)) >>> 0;
    this.#high = (this.#high + mix(count, first, 0xc2b2ae35)) >>> 0;
  }

  equals(other: Tally): boolean {
    return this.blocks === other.blocks && this.#low === other.#low && this.#high === other.#high;
  }
}

function mix(a: number, b: number, factor: number): number {
  let value = Math.imul(a ^ (a >>> 16), factor) + b;
  value = Math.imul(value ^ (value >>> 13), 0x9e3779b1);
  return (value ^ (value >>> 16)) >>> 0;
}

/**
 * Visits the free extents of a group in order, as [first block, behind the last], and returns the blocks of both
 * trees. Inconsistent, perhaps after some were visited, when a tree does not hold together, or when the two do not
 * hold the same extents: a flipped bit in version 4, which has no checksums, would otherwise free other blocks than were meant.
 * It ends on any content: depth only falls, and extents that do not grow or are more than the group counts end it.
 */
export function visitXfsFree(
  volume: XfsVolume,
  group: XfsGroup,
  visit: (first: number, behind: number) => void,
): number[] {
  const wrong = (what: string): Inconsistent => new Inconsistent(`xfs: the free space of group ${group.index} ${what}`);
  const count = (tally: Tally, first: number, length: number): void => {
    if (length === 0 || first < headerBlocks(volume.sb) || first + length > group.length) throw wrong('is not in it');
    tally.add(first, length);
    if (tally.blocks > group.freeBlocks) throw wrong(`is more than the ${group.freeBlocks} blocks of its header`);
  };

  const byBlock = new Tally();
  let behind = 0;
  const blocks = walkTree(volume, group, 'byBlock', group.byBlock, (first, length) => {
    if (first < behind) throw wrong('is out of order');
    count(byBlock, first, length);
    behind = first + length;
    visit(first, behind);
  });

  const byLength = new Tally();
  let last = { first: 0, length: 0 };
  const others = walkTree(volume, group, 'byLength', group.byLength, (first, length) => {
    const grows = length > last.length || (length === last.length && first > last.first);
    if (!grows) throw wrong('is out of order');
    count(byLength, first, length);
    last = { first, length };
  });

  if (byBlock.blocks !== group.freeBlocks || byBlock.longest !== group.longest) {
    throw wrong(`is ${byBlock.blocks} blocks, at most ${byBlock.longest} in one piece, and not what its header says`);
  }
  if (!byBlock.equals(byLength)) throw wrong('differs between its two trees');
  return [...blocks, ...others];
}

/** Visits the records of a tree in order; returns its blocks. */
function walkTree(
  volume: XfsVolume,
  group: XfsGroup,
  order: Order,
  tree: XfsTree,
  visit: (first: number, blocks: number) => void,
): number[] {
  const levels: Level[] = Array.from({ length: tree.levels }, () => ({ last: NONE, right: NONE }));
  const visited: number[] = [];
  const torn = (): Inconsistent => new Inconsistent(`xfs: a tree of the free space of group ${group.index} is torn`);

  /** `lowest`: the first key or record of the subtree as its parent says. */
  const walk = (block: number, depth: number, lowest: Buffer | undefined): void => {
    const level = levels[depth];
    if (level === undefined || block < headerBlocks(volume.sb) || block >= group.length) throw torn();
    visited.push(block);
    const { bytes, records, header } = readBlock(volume, group, order, block, depth);
    // The blocks of a level are a chain; and only a root may be empty.
    const isChained = level.right === (level.last === NONE ? NONE : block) && bytes.readUInt32BE(8) === level.last;
    if (!isChained || (records === 0 && tree.levels > 1)) throw torn();
    level.last = block;
    level.right = bytes.readUInt32BE(12);
    const recordAt = (i: number): Buffer => bytes.subarray(header + i * RECORD, header + (i + 1) * RECORD);
    if (lowest !== undefined && !recordAt(0).equals(lowest)) throw torn();
    const pointers = header + roomFor(bytes.length - header, depth) * RECORD;
    for (let i = 0; i < records; i++) {
      const record = recordAt(i);
      if (depth === 0) visit(record.readUInt32BE(0), record.readUInt32BE(4));
      else walk(bytes.readUInt32BE(pointers + i * POINTER), depth - 1, record);
    }
  };

  walk(tree.root, tree.levels - 1, undefined);
  if (levels.some(({ right }) => right !== NONE)) throw torn();
  return visited;
}

/** Records of a leaf, or keys with their pointers of a node, for which there is room. */
function roomFor(bytes: number, depth: number): number {
  return Math.floor(bytes / (depth === 0 ? RECORD : RECORD + POINTER));
}

/** Reads a block of a tree and checks what it says of itself. */
function readBlock(
  volume: XfsVolume,
  group: XfsGroup,
  order: Order,
  block: number,
  depth: number,
): { bytes: Buffer; records: number; header: number } {
  const { source, start, sb } = volume;
  const at = blockAt(sb, group.index, block);
  const bytes = source.read(start + at, sb.blockBytes);
  const header = sb.checksums ? HEADER_CHECKSUMS : HEADER;
  const records = bytes.readUInt16BE(6);
  const what = `block ${block} of a free space tree of group ${group.index}`;
  const fits =
    bytes.readUInt32BE(0) === MAGICS[order][sb.checksums ? 'checksums' : 'plain'] &&
    bytes.readUInt16BE(4) === depth &&
    records <= roomFor(bytes.length - header, depth);
  if (!fits) throw new Inconsistent(`xfs: ${what} is none`);
  if (sb.checksums) {
    const address = bytes.readUInt32BE(16) * 2 ** 32 + bytes.readUInt32BE(20);
    const isOwn = address * BASIC_BLOCK === at && bytes.readUInt32BE(48) === group.index;
    if (!isOwn) throw new Inconsistent(`xfs: ${what} belongs elsewhere`);
    expectXfsMark(volume, bytes, { uuid: 32, sequence: 24, checksum: 52 }, what);
  }
  return { bytes, records, header };
}
