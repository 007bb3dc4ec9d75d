/**
 * Free logical space of a btrfs: what no item of the extent tree covers within the chunks (kernel: struct btrfs_extent_item,
 * btrfs_block_group_item). Per block group, the extents must sum up to what its item says is used; all of them to what the
 * superblock says.
 */
import { type Chunk, type ChunkMap, TYPE_DATA, TYPES_METADATA } from './btrfs-chunks.ts';
import { type BtrfsSuperblock, type TreeRoot, u64 } from './btrfs-superblock.ts';
import type { Item, TreeReader } from './btrfs-tree.ts';
import { RangeBuilder } from './ranges.ts';
import { Inconsistent } from './source.ts';

const KEY_EXTENT = 168;
const KEY_METADATA = 169;
const KEY_BLOCK_GROUP = 192;
/** References that have items of their own: tree block, data, shared block, shared data. */
const KEYS_REFERENCES = [176, 178, 182, 184];
const EXTENT_BYTES = 24;
const BLOCK_GROUP_BYTES = 24;
const CHUNK_OBJECT = 256;
const EXTENT_DATA = 1;
const EXTENT_TREE_BLOCK = 2;
/** With full back references. Nothing else is on a disk. */
const EXTENT_FLAGS = [EXTENT_DATA, EXTENT_TREE_BLOCK, EXTENT_TREE_BLOCK | 0x100];

/** Free ranges within chunks, logical bytes, sorted. `blockGroups` is the tree of block group items, where they have their own. */
export function freeLogical(
  tree: TreeReader,
  sb: BtrfsSuperblock,
  map: ChunkMap,
  extents: TreeRoot,
  blockGroups: TreeRoot | undefined,
): Float64Array {
  const groups = new BlockGroups(map);
  const sweep = new ExtentSweep(sb, map);
  tree.walk(extents, (item) => {
    if (item.type === KEY_EXTENT) sweep.add(item, item.offset);
    else if (item.type === KEY_METADATA) sweep.add(item, sb.nodeBytes);
    else if (item.type === KEY_BLOCK_GROUP && !blockGroups) groups.add(item);
    else if (!KEYS_REFERENCES.includes(item.type)) {
      throw new Inconsistent(`btrfs: its extent tree has an item of type ${item.type}`);
    }
  });
  if (blockGroups) tree.walk(blockGroups, (item) => groups.add(item));
  const free = sweep.finish();
  groups.compare(sweep.used, sb.bytesUsed);
  return free;
}

/** Used bytes by block group, as their items say. */
class BlockGroups {
  readonly #map: ChunkMap;
  readonly #used: Float64Array;

  constructor(map: ChunkMap) {
    this.#map = map;
    this.#used = new Float64Array(map.chunks.length).fill(-1);
  }

  add({ objectid, type, offset, data }: Item): void {
    const index = this.#map.indexAt(objectid);
    const chunk = this.#map.chunks[index];
    const same =
      chunk &&
      type === KEY_BLOCK_GROUP &&
      data.length === BLOCK_GROUP_BYTES &&
      objectid === chunk.logical &&
      offset === chunk.bytes &&
      u64(data, 8) === CHUNK_OBJECT &&
      u64(data, 16) === chunk.flags;
    if (!same) throw new Inconsistent(`btrfs: block group ${objectid} has no such chunk`);
    this.#used[index] = u64(data, 0);
  }

  compare(extents: Float64Array, bytesUsed: number): void {
    let sum = 0;
    this.#map.chunks.forEach(({ logical }, index) => {
      const said = this.#used[index] ?? -1;
      const found = extents[index] ?? 0;
      if (said !== found) {
        throw new Inconsistent(`btrfs: block group ${logical} has ${found} used bytes, its item says ${said}`);
      }
      sum += found;
    });
    if (sum !== bytesUsed) throw new Inconsistent(`btrfs: it has ${sum} used bytes, its superblock says ${bytesUsed}`);
  }
}

/** Goes through chunks and extents side by side, both in logical order. */
class ExtentSweep {
  /** Used bytes by chunk. */
  readonly used: Float64Array;
  readonly #sb: BtrfsSuperblock;
  readonly #chunks: readonly Chunk[];
  readonly #free = new RangeBuilder();
  #index = 0;
  /** Everything before it is accounted for. */
  #at: number;

  constructor(sb: BtrfsSuperblock, map: ChunkMap) {
    this.#sb = sb;
    this.#chunks = map.chunks;
    this.#at = map.chunks[0]?.logical ?? 0;
    this.used = new Float64Array(map.chunks.length);
  }

  add({ objectid: logical, data }: Item, bytes: number): void {
    for (let chunk = this.#chunks[this.#index]; chunk && chunk.logical + chunk.bytes <= logical; )
      chunk = this.#next(chunk);
    const chunk = this.#chunks[this.#index];
    const { sectorBytes, nodeBytes } = this.#sb;
    const inside = chunk && logical >= this.#at && bytes > 0 && logical + bytes <= chunk.logical + chunk.bytes;
    if (!inside || logical % sectorBytes !== 0 || bytes % sectorBytes !== 0 || data.length < EXTENT_BYTES) {
      throw new Inconsistent(`btrfs: extent ${logical} of ${bytes} bytes is out of place`);
    }
    const flags = u64(data, 16);
    const isData = flags === EXTENT_DATA;
    const fits = isData ? (chunk.flags & TYPE_DATA) !== 0 : bytes === nodeBytes && (chunk.flags & TYPES_METADATA) !== 0;
    if (!EXTENT_FLAGS.includes(flags) || !fits) throw new Inconsistent(`btrfs: extent ${logical} is of a wrong kind`);
    this.#free.add(this.#at, logical);
    this.#at = logical + bytes;
    this.used[this.#index] = (this.used[this.#index] ?? 0) + bytes;
  }

  finish(): Float64Array {
    for (let chunk = this.#chunks[this.#index]; chunk; ) chunk = this.#next(chunk);
    return this.#free.finish();
  }

  #next(chunk: Chunk): Chunk | undefined {
    this.#free.add(this.#at, chunk.logical + chunk.bytes);
    this.#index++;
    const next = this.#chunks[this.#index];
    this.#at = next?.logical ?? this.#at;
    return next;
  }
}
