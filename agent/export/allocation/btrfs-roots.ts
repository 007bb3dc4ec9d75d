/** The root tree of a btrfs: where the other trees are (kernel: struct btrfs_root_item). */
import { type BtrfsSuperblock, type TreeRoot, u64 } from './btrfs-superblock.ts';
import type { TreeReader } from './btrfs-tree.ts';
import { Inconsistent } from './source.ts';

const KEY_ROOT = 132;
/** Up to its level; newer kernels add fields. */
const ROOT_ITEM_BYTES = 239;
const EXTENT_TREE = 2;
const DEVICE_TREE = 4;
const BLOCK_GROUP_TREE = 11;
const LEVEL_MAX = 7;

export interface BtrfsRoots {
  extents: TreeRoot;
  devices: TreeRoot;
  /** Only where block groups have a tree of their own. */
  blockGroups: TreeRoot | undefined;
}

/** Reads the root tree. The root nodes of all trees, subvolumes too, are noted as in use. */
export function readRoots(tree: TreeReader, sb: BtrfsSuperblock): BtrfsRoots {
  const found = new Map<number, TreeRoot>();
  tree.walk(sb.rootTree, ({ objectid, type, offset, data }) => {
    if (type !== KEY_ROOT) return;
    if (data.length < ROOT_ITEM_BYTES) throw new Inconsistent(`btrfs: the root of tree ${objectid} is too short`);
    const root = { owner: objectid, logical: u64(data, 176), generation: u64(data, 160), level: data.readUInt8(238) };
    tree.noteInUse(root.logical);
    if (![EXTENT_TREE, DEVICE_TREE, BLOCK_GROUP_TREE].includes(objectid)) return;
    if (found.has(objectid) || offset !== 0 || root.level > LEVEL_MAX || root.generation > sb.rootTree.generation) {
      throw new Inconsistent(`btrfs: the root of tree ${objectid} is not plausible`);
    }
    found.set(objectid, root);
  });
  const extents = found.get(EXTENT_TREE);
  const devices = found.get(DEVICE_TREE);
  const blockGroups = found.get(BLOCK_GROUP_TREE);
  if (!extents || !devices || (blockGroups !== undefined) !== sb.blockGroupTree) {
    throw new Inconsistent('btrfs: its trees are not those that its superblock promises');
  }
  return { extents, devices, blockGroups };
}
