/**
 * Free space of a btrfs on one device, from its own trees (kernel: Documentation at btrfs.readthedocs.io, "On-disk format").
 * Free is what lies in no chunk, and what lies in a chunk and in no extent of the extent tree; never the first MiB, which is
 * left to boot loaders, nor a superblock. A commit replaces the superblock last, and the trees below it stay until then, so
 * that what the superblock names is whole also after a power cut; only a log (fsync since the last commit) has blocks that
 * the extent tree does not have. More devices, RAID, zones and everything unknown or contradictory: Inconsistent.
 *
 * A superblock can outlive its file system. What must agree for it to be trusted: it with its copies; checksum, place,
 * generation, tree and first key of every node with the pointer to it; system chunks, chunk tree and device tree; extents
 * with their block groups' sums and the superblock's; and no node, nor the root of any subvolume, is where it says free.
 */
import { checkDeviceTree, readChunks, type Stripe, systemChunks } from './btrfs-chunks.ts';
import { freeLogical } from './btrfs-extents.ts';
import { readRoots } from './btrfs-roots.ts';
import { COPIES_AT, readBtrfsSuperblock } from './btrfs-superblock.ts';
import { TreeReader } from './btrfs-tree.ts';
import { type FreeSpace, firstBehind, RangeBuilder, subtract } from './ranges.ts';
import { Inconsistent, type StructureSource } from './source.ts';

/** BTRFS_DEVICE_RANGE_RESERVED: left to boot loaders; the superblock is in it. Old tools put a first chunk there all the same. */
const RESERVED_BYTES = 1024 * 1024;
/** The allocator keeps as much around each copy of the superblock (btrfs_exclude_super_stripes: BTRFS_STRIPE_LEN). */
const COPY_BYTES = 64 * 1024;
/** Never free, bytes of the device: pairs of start and end. */
const RESERVED = Float64Array.from([0, RESERVED_BYTES, ...COPIES_AT.flatMap((at) => [at, at + COPY_BYTES])]);

/**
 * Free ranges of the file system in [start, end), or undefined when there is none. Inconsistent: there is one, not to be
 * trusted. Memory: two lists of free ranges, eight bytes for each node of the trees read, some for each chunk.
 */
export function btrfsFree(source: StructureSource, start: number, end: number): FreeSpace | undefined {
  const sb = readBtrfsSuperblock(source, start, end);
  if (!sb) return undefined;
  const system = systemChunks(sb);
  const tree = new TreeReader(source, start, sb, system);
  const map = readChunks(tree, sb, system);
  const roots = readRoots(tree, sb);
  const stripes = map.stripes();
  checkDeviceTree(tree, roots.devices, sb, stripes);
  const logical = freeLogical(tree, sb, map, roots.extents, roots.blockGroups);
  for (const node of tree.inUse) {
    const range = firstBehind(logical, node);
    if ((logical[2 * range] ?? Number.POSITIVE_INFINITY) < node + sb.nodeBytes) {
      throw new Inconsistent(`btrfs: node ${node} is in no extent`);
    }
  }
  return { end: start + sb.device.bytes, free: onDisk(start, sb.device.bytes, stripes, logical) };
}

/** Free ranges on the disk: outside of all stripes, and in each stripe what is free of its chunk. */
function onDisk(
  start: number,
  deviceBytes: number,
  stripes: readonly Stripe[],
  logical: Float64Array,
): Float64Array<SharedArrayBuffer> {
  const free = new RangeBuilder();
  const add = (from: number, to: number): void => {
    subtract(from, to, RESERVED, (a, b) => free.add(start + a, start + b));
  };
  let at = 0;
  for (const { physical, chunk } of stripes) {
    add(at, physical);
    const chunkEnd = chunk.logical + chunk.bytes;
    const shift = physical - chunk.logical;
    for (let i = firstBehind(logical, chunk.logical); 2 * i < logical.length; i++) {
      const from = Math.max(chunk.logical, logical[2 * i] ?? chunkEnd);
      if (from >= chunkEnd) break;
      add(from + shift, Math.min(chunkEnd, logical[2 * i + 1] ?? from) + shift);
    }
    at = physical + chunk.bytes;
  }
  add(at, deviceBytes);
  return free.finish();
}
