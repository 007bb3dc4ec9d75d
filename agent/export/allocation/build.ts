/** The allocation map of a disk, from its partition table and the file systems that are understood. */
import { type AreaSpace, notUnderstood } from './area.ts';
import { readFileSystem } from './file-system.ts';
import { readLvm } from './lvm.ts';
import { hasLvmLabel } from './lvm-label.ts';
import type { MapLists } from './map.ts';
import { type Partition, readPartitions } from './partitions.ts';
import { RangeBuilder, subtract } from './ranges.ts';
import { arrayMember } from './signatures.ts';
import { Inconsistent, type StructureSource } from './source.ts';

/** What was found in one area, for the log. */
export interface AreaReport {
  start: number;
  end: number;
  /** A reader's format, LVM with its volumes, or 'unknown' with the reason. */
  found: string;
}

export interface BuiltMap extends MapLists {
  areas: AreaReport[];
}

/**
 * Builds the map. Whatever is not understood (both partition tables, gaps, boot code, other file systems) is unknown,
 * never free. The same holds for an area whose structures cannot be read: reading it for the copy will name the range.
 */
export function buildMap(source: StructureSource): BuiltMap {
  const free = new RangeBuilder();
  const known = new RangeBuilder();
  const areas: AreaReport[] = [];
  for (const area of areasOf(source, areas)) {
    const space = readArea(source, area);
    free.addAll(space.free);
    known.addAll(space.known);
    areas.push({ ...area, found: space.found });
  }
  const knownRanges = known.finish();
  const unknown = new RangeBuilder();
  subtract(0, source.sizeBytes, knownRanges, (start, end) => unknown.add(start, end));
  return { sizeBytes: source.sizeBytes, free: free.finish(), unknown: unknown.finish(), areas };
}

/** The map of a disk of which everything is to be read: nothing is free, everything unknown. */
export function fullMap(sizeBytes: number): BuiltMap {
  const unknown = new RangeBuilder();
  unknown.add(0, sizeBytes);
  return { sizeBytes, free: new RangeBuilder().finish(), unknown: unknown.finish(), areas: [] };
}

/** The partitions; the whole disk where there is no table; nothing where the table does not hold together. */
function areasOf(source: StructureSource, areas: AreaReport[]): Partition[] {
  const whole = { start: 0, end: source.sizeBytes };
  try {
    const array = arrayMember(source, 0, source.sizeBytes);
    if (array !== undefined) throw new Inconsistent(`the disk is part of an array (${array})`);
    const table = readPartitions(source);
    return table.kind === 'none' ? [whole] : table.partitions;
  } catch (error) {
    areas.push({ ...whole, found: notUnderstood(error).found });
    return [];
  }
}

function readArea(source: StructureSource, { start, end }: Partition): AreaSpace {
  try {
    return hasLvmLabel(source, start, end) ? readLvm(source, start, end) : readFileSystem(source, start, end);
  } catch (error) {
    return notUnderstood(error);
  }
}
