import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  blockLength,
  eachHole,
  FLUSHED,
  FREE,
  makePlan,
  PENDING,
  type Plan,
  takeFromList,
} from '../../../receiver/copy/plan.ts';
import { UsedRanges } from '../../../receiver/copy/used-ranges.ts';
import { manifestOf } from '../../../receiver/copy/verify.ts';
import { randomFrom } from './random.ts';

const MIB = 1024 * 1024;
const BLOCK = 4 * MIB;

function plan(sizeBytes: number, ...ranges: [number, number][]): Plan {
  const used = new UsedRanges(sizeBytes);
  for (const [start, end] of ranges) used.add(start, end);
  return makePlan(sizeBytes, used.finish());
}

/** Block and bytes in use of it. */
const blocks = (of: Plan): [number, number][] =>
  Array.from(of.used, (used, block): [number, number] => [block, used]).filter(([block]) => of.states[block] !== FREE);

function holes(of: Plan): [number, number][] {
  const found: [number, number][] = [];
  eachHole(of, (start, end) => found.push([start, end]));
  return found;
}

describe('plan', () => {
  it('has each block of 4 MiB of which anything is in use', () => {
    const made = plan(20 * MIB, [MIB / 2, 2 * MIB + 4096], [8 * MIB - 4096, 8 * MIB + 4096]);
    assert.deepEqual(blocks(made), [
      [0, 1.5 * MIB + 4096],
      [1, 4096],
      [2, 4096],
    ]);
    assert.deepEqual([made.count, made.usedBlocks, made.usedBytes], [5, 3, 1.5 * MIB + 3 * 4096]);
    assert.deepEqual(holes(made), [[12 * MIB, 20 * MIB]]);
  });

  it('rounds ranges outwards to 4 KiB, not beyond the disk, whose last block is shorter', () => {
    const made = plan(BLOCK + 512, [5000, 6000], [7000, 9000], [BLOCK + 1, BLOCK + 2]);
    assert.deepEqual(blocks(made), [
      [0, 8192],
      [1, 512],
    ]);
    assert.deepEqual([blockLength(made, 0), blockLength(made, 1)], [BLOCK, 512]);
  });

  it('has what lies behind the disk on a larger replica as a hole', () => {
    const ranges = new UsedRanges(BLOCK + 512);
    ranges.add(BLOCK, BLOCK + 1);
    const made = makePlan(BLOCK + 512, ranges.finish(), 3 * BLOCK);
    assert.deepEqual(holes(made), [
      [0, BLOCK],
      [BLOCK + 512, 3 * BLOCK],
    ]);
  });

  it('takes what a journal has as done, also where the map now says free', () => {
    const made = plan(5 * BLOCK - 512, [0, 4096], [BLOCK, 2 * BLOCK]);
    const list = new Uint8Array(5 * 16);
    list.fill(0xa1, 16, 32);
    list.fill(0xa4, 64, 80);
    assert.equal(takeFromList(made, list), 2);
    assert.deepEqual([...made.states], [PENDING, FLUSHED, FREE, FREE, FLUSHED]);
    assert.deepEqual([made.usedBlocks, made.usedBytes], [3, 4096 + BLOCK + (BLOCK - 512)]);
    assert.deepEqual(made.hashes.slice(64), list.slice(64));
    assert.deepEqual(holes(made), [[2 * BLOCK, 4 * BLOCK]]);
  });

  it('covers every used byte once and every other byte as a hole, on random maps', () => {
    const random = randomFrom(3);
    for (let round = 0; round < 100; round++) {
      const size = 512 * (1 + random(200_000));
      const ranges: [number, number][] = [];
      for (let at = random(300_000); at < size; ) {
        const end = Math.min(size, at + 1 + random(3_000_000));
        ranges.push([at, end]);
        at = end + 1 + random(random(2) === 0 ? 20_000 : 30_000_000);
      }
      const made = plan(size, ...ranges);
      const inUse = blocks(made).map(([block]): [number, number] => [block * BLOCK, blockLength(made, block)]);
      const all = [...inUse.map(([at, length]): [number, number] => [at, at + length]), ...holes(made)].sort(
        ([a], [b]) => a - b,
      );
      let at = 0;
      for (const [start, end] of all) {
        assert.equal(start, at);
        at = end;
      }
      assert.equal(at, size);
      for (const [start, end] of ranges) {
        assert.ok(
          holes(made).every(([from, to]) => to <= start || from >= end),
          `${start}-${end} is no hole`,
        );
      }
      for (const [offset, length] of inUse) {
        const touched = ranges.some(([start, end]) => start < offset + length && end > offset - 4096);
        assert.ok(touched, `the block at ${offset} has something in use`);
      }
      assert.equal(
        blocks(made).reduce((sum, [, used]) => sum + used, 0),
        made.usedBytes,
      );
      assert.equal(blocks(made).length, made.usedBlocks);
    }
  });
});

describe('manifest', () => {
  it('is SHA-256 over the list of hashes, zeros for what is not in use', () => {
    const made = plan(3 * BLOCK, [0, 4096], [2 * BLOCK, 2 * BLOCK + 8192]);
    made.hashes.fill(0xab, 0, 16);
    made.hashes.fill(0xcd, 32, 48);
    // By Python's hashlib: sha256(b'\xab' * 16 + bytes(16) + b'\xcd' * 16).
    assert.equal(manifestOf(made), '3c46605430ed229b5104cf982394559d6062dcacf1945c84ff8822fe42a713e9');
  });
});
