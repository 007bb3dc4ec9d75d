import assert from 'node:assert/strict';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fullMap } from '../../../agent/export/allocation/build.ts';
import { withHoles } from '../../../agent/export/allocation/holes.ts';
import { AllocationMap } from '../../../agent/export/allocation/map.ts';
import { RangeBuilder } from '../../../agent/export/allocation/ranges.ts';
import { BlockDevice } from '../../../native/block.ts';

const MIB = 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'rehost-holes-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** A file of this size with ones in these ranges, opened. */
function sparse(name: string, bytes: number, ranges: readonly [number, number][]): BlockDevice {
  const path = join(folder, name);
  const fd = openSync(path, 'w');
  ftruncateSync(fd, bytes);
  for (const [start, end] of ranges) writeSync(fd, Buffer.alloc(end - start, 1), 0, end - start, start);
  closeSync(fd);
  return BlockDevice.open(path, { write: false, direct: true });
}

function states(map: AllocationMap): string[] {
  return [...map.extents(0, map.sizeBytes)].map(({ start, end, state }) => `${start / MIB}-${end / MIB} ${state}`);
}

void test('holes: what a file has no content for is free, the rest is as it was', () => {
  const device = sparse('middle', 8 * MIB, [
    [2 * MIB, 3 * MIB],
    [6 * MIB, 7 * MIB],
  ]);
  try {
    const map = withHoles(fullMap(8 * MIB), device);
    assert.deepEqual(states(new AllocationMap(map)), [
      '0-2 free',
      '2-3 unknown',
      '3-6 free',
      '6-7 unknown',
      '7-8 free',
    ]);
    assert.match(map.areas.at(-1)?.found ?? '', new RegExp(`holes, ${6 * MIB} bytes`));
  } finally {
    device.close();
  }
});

void test('holes: they are added to what a file system says is free', () => {
  const device = sparse('both', 8 * MIB, [[0, 5 * MIB]]);
  try {
    const free = new RangeBuilder();
    free.add(1 * MIB, 2 * MIB);
    free.add(4 * MIB, 6 * MIB);
    const unknown = new RangeBuilder();
    unknown.add(0, MIB);
    unknown.add(7 * MIB, 8 * MIB);
    const map = withHoles({ sizeBytes: 8 * MIB, free: free.finish(), unknown: unknown.finish(), areas: [] }, device);
    assert.deepEqual(states(new AllocationMap(map)), ['0-1 unknown', '1-2 free', '2-4 data', '4-8 free']);
  } finally {
    device.close();
  }
});

void test('holes: a file that is full has none, one without content is one, and so is one at either end', () => {
  const found = (name: string, ranges: [number, number][]) => {
    const device = sparse(name, 4 * MIB, ranges);
    try {
      return [...device.holes()].map(({ start, end }) => [start / MIB, end / MIB]);
    } finally {
      device.close();
    }
  };
  assert.deepEqual(found('full', [[0, 4 * MIB]]), []);
  assert.deepEqual(found('empty', []), [[0, 4]]);
  assert.deepEqual(found('start', [[0, MIB]]), [[1, 4]]);
  assert.deepEqual(found('end', [[3 * MIB, 4 * MIB]]), [[0, 3]]);
  const map = fullMap(4 * MIB);
  const device = sparse('same', 4 * MIB, [[0, 4 * MIB]]);
  try {
    assert.equal(withHoles(map, device), map);
  } finally {
    device.close();
  }
});
