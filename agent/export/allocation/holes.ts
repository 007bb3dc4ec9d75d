/** A source that is a file: what it has no content for is zeros, and need not be read. */
import type { BlockDevice } from '../../../native/block.ts';
import type { BuiltMap } from './build.ts';
import { RangeBuilder, subtract, union } from './ranges.ts';

/** The map with the holes of the file that it is of. Those of a block device are none. */
export function withHoles(map: BuiltMap, device: Pick<BlockDevice, 'holes'>): BuiltMap {
  const found = new RangeBuilder();
  let bytes = 0;
  for (const { start, end } of device.holes()) {
    found.add(start, end);
    bytes += end - start;
  }
  if (bytes === 0) return map;
  const holes = found.finish();
  const unknown = new RangeBuilder();
  for (let i = 0; i + 1 < map.unknown.length; i += 2) {
    subtract(map.unknown[i] ?? 0, map.unknown[i + 1] ?? 0, holes, (start, end) => unknown.add(start, end));
  }
  const areas = [...map.areas, { start: 0, end: map.sizeBytes, found: `a file with holes, ${bytes} bytes` }];
  return { ...map, free: union(map.free, holes), unknown: unknown.finish(), areas };
}
