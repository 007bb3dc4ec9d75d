/** The allocation map of a disk, from its partition table and the file systems that are understood. */
import { SysError } from '../../../native/errors.ts';
import type { MapLists } from './map.ts';
import { type Partition, readPartitions } from './partitions.ts';
import { RangeBuilder, subtract } from './ranges.ts';
import { READERS } from './readers.ts';
import { otherFormat } from './signatures.ts';
import { Inconsistent, type StructureSource } from './source.ts';

/** What was found in one area, for the log. */
export interface AreaReport {
  start: number;
  end: number;
  /** A reader's format, or 'unknown' with the reason. */
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
    const report = readArea(source, area, free, known);
    areas.push({ ...area, found: report });
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
    const table = readPartitions(source);
    return table.kind === 'none' ? [whole] : table.partitions;
  } catch (error) {
    areas.push({ ...whole, found: notUnderstood(error) });
    return [];
  }
}

function readArea(source: StructureSource, area: Partition, free: RangeBuilder, known: RangeBuilder): string {
  try {
    const claims = READERS.flatMap((reader) => {
      const space = reader.free(source, area.start, area.end);
      return space ? [{ reader, space }] : [];
    });
    const [claim, second] = claims;
    if (claim && second) return `unknown: it looks like ${claim.reader.format} and like ${second.reader.format}`;
    const other = otherFormat(source, area.start, area.end, claim?.reader);
    if (other !== undefined) return `unknown: ${other}`;
    if (!claim) return 'unknown';
    free.addAll(claim.space.free);
    known.add(area.start, claim.space.end);
    return claim.reader.format;
  } catch (error) {
    return notUnderstood(error);
  }
}

function notUnderstood(error: unknown): string {
  if (error instanceof Inconsistent || error instanceof SysError) return `unknown: ${error.message}`;
  throw error;
}
