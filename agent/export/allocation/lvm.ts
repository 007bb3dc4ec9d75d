/**
 * LVM2 on one physical volume: extents of no volume are free, and so are the free blocks of the file systems in those volumes
 * that lie on plain extents. Everything else of it, like a group with several physical volumes, is unknown.
 */
import { type AreaSpace, unknownReason } from './area.ts';
import { readFileSystem } from './file-system.ts';
import { readLvmGroup } from './lvm-group.ts';
import { readLvmLabel } from './lvm-label.ts';
import { toDisk, VolumeSource } from './lvm-volume.ts';
import { union } from './ranges.ts';
import { otherFormat } from './signatures.ts';
import type { StructureSource } from './source.ts';

const CLAIMANT = { format: 'LVM', ownsStart: true };

/** Free space of the physical volume in [start, end), which has a label. Inconsistent when it is not understood. */
export function readLvm(source: StructureSource, start: number, end: number): AreaSpace {
  const other = otherFormat(source, start, end, CLAIMANT);
  if (other !== undefined) return unknownReason(other);
  const group = readLvmGroup(readLvmLabel(source, start, end), start);
  let free = group.unallocated;
  let known = group.unallocated;
  const found = group.others.map((name) => `${name}: unknown`);
  for (const { name, segments } of group.volumes) {
    const volume = new VolumeSource(source, segments);
    const space = readFileSystem(volume, 0, volume.sizeBytes);
    free = union(free, toDisk(segments, space.free));
    known = union(known, toDisk(segments, space.known));
    found.push(`${name}: ${space.found}`);
  }
  return { found: `LVM (${found.join(', ')})`, free, known };
}
