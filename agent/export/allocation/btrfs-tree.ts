/**
 * Walks a btrfs tree in key order (kernel: struct btrfs_header, btrfs_item, btrfs_key_ptr; fs/btrfs/tree-checker.c). Each node
 * must be what the pointer to it says: place, file system, tree, generation, level, first key; and all keys must ascend over
 * the whole tree. So no node is visited twice, and a walk ends on any content.
 */
import { btrfsChecksumHolds } from './btrfs-checksums.ts';
import type { ChunkMap } from './btrfs-chunks.ts';
import { type BtrfsSuperblock, type TreeRoot, u64 } from './btrfs-superblock.ts';
import { Inconsistent, type StructureSource } from './source.ts';

const HEADER_BYTES = 101;
const FLAG_WRITTEN = 1;
/** Key, block pointer, generation. */
const POINTER_BYTES = 33;
/** Key, offset and size of the data. */
const ITEM_BYTES = 25;
const KEY_BYTES = 17;
/** 16 KiB each: 64 GiB of the trees that are read here. Their places take 32 MiB. */
const NODES_MAX = 4 * 1024 * 1024;

/** Keys in btrfs are (objectid, type, offset). Numbers above 2^53 are rounded; none that means anything here is as large. */
export interface Item {
  objectid: number;
  type: number;
  offset: number;
  data: Buffer;
}

interface KeyPlace {
  node: Buffer;
  at: number;
}

/** Reads the trees of one file system; it keeps where the nodes were that it read. */
export class TreeReader {
  /** Logical addresses of all nodes that were read or that must be in use: whatever else says that one is free is wrong. */
  readonly inUse: number[] = [];
  readonly #source: StructureSource;
  readonly #start: number;
  readonly #sb: BtrfsSuperblock;
  #chunks: ChunkMap;
  #nodes = 0;
  #last: KeyPlace | undefined;

  /** `start`: where the file system begins on the source. */
  constructor(source: StructureSource, start: number, sb: BtrfsSuperblock, chunks: ChunkMap) {
    this.#source = source;
    this.#start = start;
    this.#sb = sb;
    this.#chunks = chunks;
  }

  /** From now on addresses are looked up in these. */
  useChunks(chunks: ChunkMap): void {
    this.#chunks = chunks;
  }

  /** Visits all items in key order. Inconsistent when the tree is damaged, possibly after items were visited. */
  walk(root: TreeRoot, visit: (item: Item) => void): void {
    this.#last = undefined;
    this.#descend(root, undefined, visit);
  }

  /** Notes that a node of any tree is here. */
  noteInUse(logical: number): void {
    if (this.inUse.length >= NODES_MAX) throw new Inconsistent('btrfs: it has more tree nodes than are read here');
    this.inUse.push(logical);
  }

  #descend(root: TreeRoot, first: KeyPlace | undefined, visit: (item: Item) => void): void {
    const node = this.#read(root);
    const count = node.readUInt32LE(96);
    if (count === 0 && (first || root.level > 0)) throw damaged(root, 'it has no items');
    if (first && compareKeys(first, { node, at: HEADER_BYTES }) !== 0) throw damaged(root, 'its first key is another');
    if (root.level === 0) {
      this.#visitLeaf(root, node, count, visit);
      return;
    }
    if (HEADER_BYTES + count * POINTER_BYTES > node.length) throw damaged(root, 'it has too many pointers');
    for (let i = 0; i < count; i++) {
      const at = HEADER_BYTES + i * POINTER_BYTES;
      const child = {
        owner: root.owner,
        logical: u64(node, at + KEY_BYTES),
        generation: u64(node, at + KEY_BYTES + 8),
        level: root.level - 1,
      };
      // A tree is copied on write up to its root.
      if (child.generation > root.generation) throw damaged(root, 'a pointer is newer than it');
      this.#descend(child, { node, at }, visit);
    }
  }

  #visitLeaf(root: TreeRoot, node: Buffer, count: number, visit: (item: Item) => void): void {
    if (HEADER_BYTES + count * ITEM_BYTES > node.length) throw damaged(root, 'it has too many items');
    // Data lies from the end backwards, without gaps.
    let dataEnd = node.length;
    for (let i = 0; i < count; i++) {
      const at = HEADER_BYTES + i * ITEM_BYTES;
      const key = { node, at };
      if (this.#last && compareKeys(this.#last, key) >= 0) throw damaged(root, 'its keys do not ascend');
      this.#last = key;
      const dataAt = HEADER_BYTES + node.readUInt32LE(at + KEY_BYTES);
      const end = dataAt + node.readUInt32LE(at + KEY_BYTES + 4);
      if (end !== dataEnd || dataAt < HEADER_BYTES + count * ITEM_BYTES) throw damaged(root, 'its items overlap');
      dataEnd = dataAt;
      visit({
        objectid: u64(node, at),
        type: node.readUInt8(at + 8),
        offset: u64(node, at + 9),
        data: node.subarray(dataAt, end),
      });
    }
  }

  #read(root: TreeRoot): Buffer {
    const { nodeBytes, nodeUuid, checksumType, bytesUsed } = this.#sb;
    this.#nodes++;
    if (this.#nodes * nodeBytes > bytesUsed) throw new Inconsistent('btrfs: its trees have more nodes than there are');
    this.noteInUse(root.logical);
    const node = this.#source.read(this.#start + this.#chunks.physicalNode(root.logical, nodeBytes), nodeBytes);
    if (!btrfsChecksumHolds(checksumType, node)) throw damaged(root, 'it fails its checksum');
    const expected =
      node.subarray(32, 48).equals(nodeUuid) &&
      u64(node, 48) === root.logical &&
      (node.readUInt8(56) & FLAG_WRITTEN) !== 0 &&
      u64(node, 80) === root.generation &&
      u64(node, 88) === root.owner &&
      node.readUInt8(100) === root.level;
    if (!expected) throw damaged(root, 'it is not the node that its parent names');
    return node;
  }
}

function damaged(root: TreeRoot, reason: string): Inconsistent {
  return new Inconsistent(`btrfs: node ${root.logical} of tree ${root.owner}: ${reason}`);
}

/** Compares all 136 bits, little-endian numbers each. Negative: a comes before b. */
function compareKeys(a: KeyPlace, b: KeyPlace): number {
  return (
    a.node.readUInt32LE(a.at + 4) - b.node.readUInt32LE(b.at + 4) ||
    a.node.readUInt32LE(a.at) - b.node.readUInt32LE(b.at) ||
    a.node.readUInt8(a.at + 8) - b.node.readUInt8(b.at + 8) ||
    a.node.readUInt32LE(a.at + 13) - b.node.readUInt32LE(b.at + 13) ||
    a.node.readUInt32LE(a.at + 9) - b.node.readUInt32LE(b.at + 9)
  );
}
