/**
 * Chunks: which logical bytes of a btrfs lie where on its one device (kernel: struct btrfs_chunk, btrfs_dev_extent;
 * fs/btrfs/volumes.c). Only chunks that lie there once (single) or twice (DUP) are understood. The chunk tree, the
 * superblock's list of system chunks, the device tree and the count of allocated bytes must all say the same.
 */
import {
  type BtrfsDevice,
  type BtrfsSuperblock,
  DEVICE_ITEM_BYTES,
  parseDevice,
  type TreeRoot,
  u64,
} from './btrfs-superblock.ts';
import type { Item, TreeReader } from './btrfs-tree.ts';
import { Inconsistent } from './source.ts';

export const TYPE_DATA = 1;
const TYPE_SYSTEM = 2;
const TYPE_METADATA = 4;
/** What tree nodes lie in: the system type is for the chunk tree alone. */
export const TYPES_METADATA = TYPE_SYSTEM | TYPE_METADATA;
const PROFILE_DUP = 0x20;
/** Which of them a chunk can have: mixed block groups hold data and metadata. */
const TYPES = [TYPE_DATA, TYPE_SYSTEM, TYPE_METADATA, TYPE_DATA | TYPE_METADATA];

const CHUNK_OBJECT = 256;
const KEY_CHUNK = 228;
const DEVICE_OBJECT = 1;
const KEY_DEVICE = 216;
const KEY_DEVICE_EXTENT = 204;
const KEY_PERSISTENT = 249;
const KEY_DEVICE_REPLACE = 250;
/**
 * Never begun, finished, cancelled: what kernels store are the numbers of <linux/btrfs.h>, not those of <linux/btrfs_tree.h>.
 * Begun and suspended have a second device.
 */
const REPLACE_IDLE = [0, 2, 3];
/** BTRFS_STRIPE_LEN, the only one that kernels take. */
const STRIPE_BYTES = 65536;
const CHUNK_BYTES = 48;
const STRIPE_ITEM_BYTES = 32;
const KEY_BYTES = 17;
const DEVICE_EXTENT_BYTES = 48;
/** 256 TiB in chunks of 1 GiB. */
const CHUNKS_MAX = 256 * 1024;

export interface Chunk {
  logical: number;
  bytes: number;
  /** Type and profile, as in the chunk and in its block group. */
  flags: number;
  /** Where its copies begin on the device, bytes: one or two. */
  copies: readonly number[];
}

/** One copy of a chunk. */
export interface Stripe {
  physical: number;
  chunk: Chunk;
}

/** Sorted by logical address, and not overlapping: Inconsistent otherwise. */
export class ChunkMap {
  readonly chunks: readonly Chunk[];

  constructor(chunks: Chunk[]) {
    this.chunks = chunks.sort((a, b) => a.logical - b.logical);
    let end = 0;
    for (const chunk of this.chunks) {
      if (chunk.logical < end) throw new Inconsistent(`btrfs: chunk ${chunk.logical} overlaps another`);
      end = chunk.logical + chunk.bytes;
    }
  }

  /** Index of the first chunk that ends behind this address; the number of chunks when there is none. */
  indexAt(logical: number): number {
    let low = 0;
    let high = this.chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const chunk = this.chunks[middle];
      if (chunk && chunk.logical + chunk.bytes <= logical) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Where the first copy of a tree node is on the device. Inconsistent when it is not in a chunk for metadata. */
  physicalNode(logical: number, bytes: number): number {
    const chunk = this.chunks[this.indexAt(logical)];
    const inside = chunk && logical >= chunk.logical && logical + bytes <= chunk.logical + chunk.bytes;
    const [copy] = chunk?.copies ?? [];
    if (!inside || copy === undefined || (chunk.flags & TYPES_METADATA) === 0) {
      throw new Inconsistent(`btrfs: node ${logical} is in no chunk for metadata`);
    }
    return copy + logical - chunk.logical;
  }

  /** All copies in the order of the device. Inconsistent when they overlap. */
  stripes(): Stripe[] {
    const stripes = this.chunks.flatMap((chunk) => chunk.copies.map((physical) => ({ physical, chunk })));
    stripes.sort((a, b) => a.physical - b.physical);
    let end = 0;
    for (const { physical, chunk } of stripes) {
      if (physical < end) throw new Inconsistent(`btrfs: chunk ${chunk.logical} overlaps another on the device`);
      end = physical + chunk.bytes;
    }
    return stripes;
  }
}

/** The chunks that the superblock itself lists: enough to read the chunk tree. */
export function systemChunks(sb: BtrfsSuperblock): ChunkMap {
  const list = sb.systemChunks;
  const chunks: Chunk[] = [];
  for (let at = 0; at < list.length; ) {
    const item = at + KEY_BYTES;
    if (item + CHUNK_BYTES > list.length) throw new Inconsistent('btrfs: its list of system chunks ends too early');
    const end = item + CHUNK_BYTES + list.readUInt16LE(item + 44) * STRIPE_ITEM_BYTES;
    if (end > list.length || u64(list, at) !== CHUNK_OBJECT || list.readUInt8(at + 8) !== KEY_CHUNK) {
      throw new Inconsistent('btrfs: its list of system chunks is damaged');
    }
    const chunk = parseChunk(sb, u64(list, at + 9), list.subarray(item, end));
    if ((chunk.flags & TYPE_SYSTEM) === 0) throw new Inconsistent('btrfs: its list of system chunks names another');
    chunks.push(chunk);
    at = end;
  }
  return new ChunkMap(chunks);
}

/** All chunks. `tree` reads with the system chunks, and with all of them from then on. */
export function readChunks(tree: TreeReader, sb: BtrfsSuperblock, system: ChunkMap): ChunkMap {
  const chunks: Chunk[] = [];
  let devices = 0;
  tree.walk(sb.chunkTree, (item) => {
    if (item.type === KEY_DEVICE && item.objectid === DEVICE_OBJECT) {
      devices++;
      checkDevice(item, sb.device);
    } else if (item.type === KEY_CHUNK && item.objectid === CHUNK_OBJECT) {
      if (chunks.length >= CHUNKS_MAX) throw new Inconsistent('btrfs: it has more chunks than are read here');
      chunks.push(parseChunk(sb, item.offset, item.data));
    } else {
      throw new Inconsistent(`btrfs: its chunk tree has an item of type ${item.type}`);
    }
  });
  if (devices !== 1) throw new Inconsistent(`btrfs: its chunk tree has ${devices} devices`);
  const map = new ChunkMap(chunks);
  for (const chunk of system.chunks) {
    const same = map.chunks[map.indexAt(chunk.logical)];
    if (!same || JSON.stringify(same) !== JSON.stringify(chunk)) {
      throw new Inconsistent(`btrfs: system chunk ${chunk.logical} is another in its chunk tree`);
    }
  }
  tree.useChunks(map);
  return map;
}

/** Inconsistent when the device tree does not have exactly these stripes, or tells of a device that is being replaced. */
export function checkDeviceTree(
  tree: TreeReader,
  root: TreeRoot,
  sb: BtrfsSuperblock,
  stripes: readonly Stripe[],
): void {
  let next = 0;
  tree.walk(root, ({ objectid, type, offset, data }) => {
    if (type === KEY_DEVICE_EXTENT) {
      const stripe = stripes[next++];
      const same =
        stripe &&
        data.length === DEVICE_EXTENT_BYTES &&
        objectid === sb.device.id &&
        offset === stripe.physical &&
        u64(data, 16) === stripe.chunk.logical &&
        u64(data, 24) === stripe.chunk.bytes;
      if (!same) throw new Inconsistent(`btrfs: device extent ${offset} belongs to no chunk`);
    } else if (type === KEY_DEVICE_REPLACE) {
      if (data.length < 40 || !REPLACE_IDLE.includes(u64(data, 32))) {
        throw new Inconsistent('btrfs: its device is being replaced');
      }
    } else if (type !== KEY_PERSISTENT) {
      throw new Inconsistent(`btrfs: its device tree has an item of type ${type}`);
    }
  });
  if (next !== stripes.length) throw new Inconsistent('btrfs: a chunk has no device extent');
  const sum = stripes.reduce((bytes, { chunk }) => bytes + chunk.bytes, 0);
  if (sum !== sb.device.chunkBytes) {
    throw new Inconsistent(`btrfs: its chunks have ${sum} bytes, its superblock says ${sb.device.chunkBytes}`);
  }
}

function checkDevice(item: Item, device: BtrfsDevice): void {
  const other = item.data.length === DEVICE_ITEM_BYTES ? parseDevice(item.data) : undefined;
  const same =
    other &&
    item.offset === device.id &&
    other.id === device.id &&
    other.bytes === device.bytes &&
    other.chunkBytes === device.chunkBytes &&
    other.uuid.equals(device.uuid);
  if (!same) throw new Inconsistent('btrfs: its chunk tree has another device');
}

function parseChunk(sb: BtrfsSuperblock, logical: number, item: Buffer): Chunk {
  const fail = (reason: string): Inconsistent => new Inconsistent(`btrfs: chunk ${logical}: ${reason}`);
  if (item.length < CHUNK_BYTES) throw fail('its item is too short');
  const bytes = u64(item, 0);
  const flags = u64(item, 24);
  const count = item.readUInt16LE(44);
  const type = TYPES.find((one) => flags === one || flags === (one | PROFILE_DUP));
  if (type === undefined) throw fail(`its profile (flags ${flags}) is not known here`);
  if (count !== (flags & PROFILE_DUP ? 2 : 1) || item.length !== CHUNK_BYTES + count * STRIPE_ITEM_BYTES) {
    throw fail(`it has ${count} stripes`);
  }
  const plausible =
    bytes > 0 &&
    Number.isSafeInteger(logical + bytes) &&
    logical % sb.sectorBytes === 0 &&
    bytes % sb.sectorBytes === 0 &&
    u64(item, 16) === STRIPE_BYTES;
  if (!plausible) throw fail('it is not plausible');
  const copies: number[] = [];
  for (let at = CHUNK_BYTES; at < item.length; at += STRIPE_ITEM_BYTES) {
    const physical = u64(item, at + 8);
    const own = u64(item, at) === sb.device.id && item.subarray(at + 16, at + 32).equals(sb.device.uuid);
    if (!own) throw fail('it is on another device');
    if (physical % sb.sectorBytes !== 0 || physical + bytes > sb.device.bytes) throw fail('it is not on its device');
    copies.push(physical);
  }
  return { logical, bytes, flags, copies };
}
