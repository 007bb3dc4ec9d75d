/**
 * How a disk is recognised after a reconnect or a restart: one that was replaced or resized gives another identity, and so does
 * one that its own system has mounted meanwhile, which its superblocks tell (mount count and time, generation, log number).
 */
import { createHash, type Hash } from 'node:crypto';
import { SysError } from '../../native/errors.ts';
import { readLvmGroup } from '../export/allocation/lvm-group.ts';
import { hasLvmLabel, readLvmLabel } from '../export/allocation/lvm-label.ts';
import { readPartitions } from '../export/allocation/partitions.ts';
import { Inconsistent, type StructureSource } from '../export/allocation/source.ts';

/** Of the disk's start and end, where both partition tables are, bytes. */
const ENDS_BYTES = 1024 * 1024;
/** Read at once: a bad sector hides no more than this, bytes. */
const WINDOW_BYTES = 64 * 1024;
/** After so many bad windows the rest of a range is not looked at: each costs a failing disk up to half a minute. */
const UNREADABLE_MAX = 2;
/** Of each partition: the superblocks of ext4 (1 KiB), xfs (0), NTFS (0) and btrfs (64 KiB), and LVM's metadata, lie in it, bytes. */
const PARTITION_HEAD_BYTES = 128 * 1024;

/** SHA-256, hex, over serial, size, the disk's ends and the heads of its partitions and logical volumes. A range that cannot be read takes part as unreadable: whether the job can live with it is decided by the copy. */
export function diskIdentity(source: StructureSource, serial: string): string {
  const { sizeBytes } = source;
  // A serial holds no newline: no two pairs of serial and size give the same text.
  const hash = createHash('sha256').update(`${serial}\n${sizeBytes}\n`);
  add(hash, source, 0, Math.min(ENDS_BYTES, sizeBytes));
  add(hash, source, Math.max(0, sizeBytes - ENDS_BYTES), sizeBytes);
  for (const { start, end } of partitionsOf(source)) {
    add(hash, source, start, Math.min(end, start + PARTITION_HEAD_BYTES));
  }
  return hash.digest('hex');
}

function add(hash: Hash, source: StructureSource, start: number, end: number): void {
  hash.update(`${start}-${end}\n`);
  let unreadable = 0;
  for (let at = start; at < end && unreadable < UNREADABLE_MAX; at += WINDOW_BYTES) {
    try {
      hash.update(source.read(at, Math.min(WINDOW_BYTES, end - at)));
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      unreadable++;
      hash.update('unreadable\n');
    }
  }
}

/** None where the table cannot be read or does not hold together: the disk's ends are compared all the same. */
function partitionsOf(source: StructureSource): { start: number; end: number }[] {
  try {
    const { kind, partitions } = readPartitions(source);
    // A physical volume may have the whole disk.
    if (kind === 'none') return volumesOf(source, { start: 0, end: source.sizeBytes });
    return partitions.flatMap((partition) => [partition, ...volumesOf(source, partition)]);
  } catch (error) {
    if (error instanceof Inconsistent || error instanceof SysError) return [];
    throw error;
  }
}

/** Where the logical volumes of a physical one begin. */
function volumesOf(
  source: StructureSource,
  { start, end }: { start: number; end: number },
): { start: number; end: number }[] {
  if (!hasLvmLabel(source, start, end)) return [];
  try {
    const group = readLvmGroup(readLvmLabel(source, start, end), start);
    return group.volumes.flatMap(({ segments }) => segments[0]?.stripes[0] ?? []);
  } catch (error) {
    if (error instanceof Inconsistent) return [];
    throw error;
  }
}
