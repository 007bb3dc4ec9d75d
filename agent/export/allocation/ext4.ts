/**
 * Free blocks of an ext2, ext3 or ext4 file system from its own bitmaps (kernel: Documentation/filesystems/ext4/).
 * Only a file system that was unmounted cleanly is trusted: with a journal to be replayed (needs_recovery) the bitmaps on
 * disk may lack allocations that exist in the journal only; the replay on the copy would then point at blocks that were
 * not copied. Everything unknown or contradictory makes the whole file system Inconsistent, and it is copied in full.
 *
 * A superblock can outlive its file system: the area may belong to somebody else by now. What must agree for it to be
 * trusted: its checksum, those of all descriptors and bitmaps (metadata_csum, gdt_csum), its copies in other groups, its
 * count of free blocks with the sum of the groups', and theirs with their bitmaps. A group without a bitmap counts only
 * when its descriptor has a checksum.
 */
import { Ext4Checksums } from './ext4-checksums.ts';
import { type Ext4Groups, readGroups } from './ext4-groups.ts';
import { compareCopies, type Ext4Superblock, leadingMetadata, parseSuperblock } from './ext4-superblock.ts';
import { type FreeSpace, RangeBuilder, subtract } from './ranges.ts';
import { Inconsistent, type StructureSource } from './source.ts';

const SUPERBLOCK_AT = 1024;
const MAGIC = 0xef53;

/** Free ranges of the file system in [start, end), or undefined when there is none. Inconsistent: there is one, not to be trusted. */
export function ext4Free(source: StructureSource, start: number, end: number): FreeSpace | undefined {
  if (end - start < 64 * 1024) return undefined;
  const raw = source.read(start + SUPERBLOCK_AT, 1024);
  if (raw.readUInt16LE(0x38) !== MAGIC) return undefined;
  const sb = parseSuperblock(raw, end - start);
  const checksums = new Ext4Checksums(raw);
  if (!checksums.superblockHolds()) throw new Inconsistent('ext4: its superblock fails its checksum');
  compareCopies(source, start, sb, raw);
  const groups = readGroups(source, start, sb, checksums);
  const free = new RangeBuilder();
  const scratch = Buffer.alloc(sb.blockBytes);
  for (let index = 0; index < sb.groups; index++) {
    const first = sb.firstBlock + index * sb.blocksPerGroup;
    const last = Math.min(sb.blocks, first + sb.blocksPerGroup);
    const visit = (from: number, to: number): void => {
      subtract(from, to, groups.metadata, (a, b) => free.add(start + a * sb.blockBytes, start + b * sb.blockBytes));
    };
    if (groups.uninitialised[index] === 1) visit(Math.min(last, first + leadingMetadata(sb, index)), last);
    else {
      const bitmap = source.read(start + (groups.bitmaps[index] ?? 0) * sb.blockBytes, sb.blockBytes, scratch);
      const bytes = sb.blocksPerGroup / sb.clusterBlocks / 8;
      if (!checksums.bitmapHolds(groups.bitmapSums[index] ?? 0, bitmap.subarray(0, bytes))) {
        throw new Inconsistent(`ext4: the bitmap of group ${index} fails its checksum`);
      }
      readBitmap(bitmap, sb, groups, index, visit);
    }
  }
  return { end: start + sb.blocks * sb.blockBytes, free: free.finish() };
}

/** Visits the free blocks of one group; Inconsistent when they are not as many as the group's descriptor says. */
function readBitmap(
  bitmap: Buffer,
  sb: Ext4Superblock,
  groups: Ext4Groups,
  index: number,
  visit: (from: number, to: number) => void,
): void {
  const first = sb.firstBlock + index * sb.blocksPerGroup;
  const last = Math.min(sb.blocks, first + sb.blocksPerGroup);
  const clusters = Math.ceil((last - first) / sb.clusterBlocks);
  const block = (bit: number): number => Math.min(last, first + bit * sb.clusterBlocks);
  let free = 0;
  let open = -1;
  for (let bit = 0; bit < clusters; ) {
    const byte = bitmap[bit >> 3] ?? 0xff;
    // Whole bytes of one kind are most of every bitmap.
    const whole = (bit & 7) === 0 && bit + 8 <= clusters && (byte === 0 || byte === 0xff);
    const step = whole ? 8 : 1;
    const used = (byte >> (bit & 7)) & 1;
    if (used === 0) {
      free += step;
      if (open < 0) open = bit;
    } else if (open >= 0) {
      visit(block(open), block(bit));
      open = -1;
    }
    bit += step;
  }
  if (open >= 0) visit(block(open), last);
  const said = groups.freeClusters[index];
  if (free !== said) {
    throw new Inconsistent(`ext4: the group at block ${first} has ${free} free clusters, its descriptor says ${said}`);
  }
}
