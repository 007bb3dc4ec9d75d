/**
 * Free blocks of an unmounted XFS file system, version 4 or 5, from the free space B+trees of its allocation groups.
 * Only one that was unmounted cleanly is trusted: its log ends with the unmount record, so that everything logged is in
 * place. Everything unknown or contradictory makes the whole file system Inconsistent, and it is copied in full.
 *
 * A superblock can outlive its file system: the area may belong to somebody else by now. What must agree for it to be
 * trusted: checksums, owners and UUIDs of all that is read (version 5), the copies of the superblock and the headers in
 * every group, each group's counts with its tree, and the superblock's count with the groups'; and nothing that is known to
 * be in use may be free. Features that came later (inode, reverse mapping and reference trees, sparse inodes) leave the
 * trees read here as they were. A realtime section is not described by them and lies behind `end` or on another device.
 */
import { type FreeSpace, firstBehind, RangeBuilder } from './ranges.ts';
import { Inconsistent, type StructureSource } from './source.ts';
import { visitXfsFree } from './xfs-btree.ts';
import { readXfsGroup, type XfsGroup, type XfsVolume } from './xfs-group.ts';
import { cleanLogHead } from './xfs-log.ts';
import { blockAt, compareXfsCopy, readXfsSuperblock } from './xfs-superblock.ts';

/** Free space of the file system in [start, end), or undefined when there is none. Inconsistent: there is one, not to be trusted. */
export function xfsFree(source: StructureSource, start: number, end: number): FreeSpace | undefined {
  if (end - start < 512) return undefined;
  const sb = readXfsSuperblock(source, start, end - start);
  if (sb === undefined) return undefined;
  const volume: XfsVolume = { source, start, sb, head: cleanLogHead(source, start, sb) };
  const free = new RangeBuilder();
  let counted = 0;
  for (let index = 0; index < sb.groups; index++) {
    if (index > 0) compareXfsCopy(source, start, sb, index);
    const group = readXfsGroup(volume, index);
    // Free, or for the trees of free space to grow: those blocks the superblock's count has never parted with.
    counted += group.freeBlocks + group.listBlocks + addGroup(volume, group, free);
  }
  if (counted !== sb.freeBlocks) {
    throw new Inconsistent(`xfs: its groups have ${counted} free blocks, its superblock says ${sb.freeBlocks}`);
  }
  return { end: start + sb.blocks * sb.blockBytes, free: free.finish() };
}

/**
 * Adds the free ranges of one group and returns the blocks of the trees that grow from its free list, their roots not
 * counted. Inconsistent when a range is certainly in use.
 */
function addGroup(volume: XfsVolume, group: XfsGroup, free: RangeBuilder): number {
  const { start, sb } = volume;
  const found = new RangeBuilder();
  const tree = visitXfsFree(volume, group, (first, behind) => found.add(first, behind));
  // There are two trees, each with a root. Kernels without lazy counters may not have kept the header's count.
  const treeBlocks = tree.length - 2 + group.reverseBlocks;
  if (sb.lazyCount && treeBlocks !== group.treeBlocks) {
    throw new Inconsistent(`xfs: the trees of group ${group.index} have ${treeBlocks} blocks, not ${group.treeBlocks}`);
  }
  const extents = found.finish();
  const overlaps = (first: number, behind: number): boolean =>
    (extents[2 * firstBehind(extents, first)] ?? Number.POSITIVE_INFINITY) < behind;
  if (
    group.used.some(([first, behind]) => overlaps(first, behind)) ||
    tree.some((block) => overlaps(block, block + 1))
  ) {
    throw new Inconsistent(`xfs: group ${group.index} has blocks that are in use and free`);
  }
  const base = start + blockAt(sb, group.index, 0);
  for (let i = 0; i + 1 < extents.length; i += 2) {
    free.add(base + (extents[i] ?? 0) * sb.blockBytes, base + (extents[i + 1] ?? 0) * sb.blockBytes);
  }
  return treeBlocks;
}
