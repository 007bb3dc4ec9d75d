import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { blockLength, eachHole, FLUSHED, makePlan, PENDING, type Plan } from '../../../receiver/copy/plan.ts';
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
  Array.from(of.used, (used, index): [number, number] => [of.numbers[index] ?? -1, used]);

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
    assert.deepEqual([made.count, made.usedBytes], [3, 1.5 * MIB + 3 * 4096]);
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
    const list = new Uint8Array(5 * 16);
    list.fill(0xa1, 16, 32);
    list.fill(0xa4, 64, 80);
    const size = 5 * BLOCK - 512;
    const made = makePlan(size, Float64Array.from([0, 4096, BLOCK, 2 * BLOCK]), size, list);
    assert.deepEqual([...made.numbers], [0, 1, 4]);
    assert.deepEqual([...made.states], [PENDING, FLUSHED, FLUSHED]);
    assert.equal(made.usedBytes, 4096 + BLOCK + (BLOCK - 512));
    assert.deepEqual(made.hashes.slice(16), Uint8Array.from([...list.slice(16, 32), ...list.slice(64)]));
    assert.deepEqual(holes(made), [[2 * BLOCK, 4 * BLOCK]]);
  });

  it('has the blocks of map and journal in the order of the disk, each once, on random ones', () => {
    const random = randomFrom(7);
    for (let round = 0; round < 200; round++) {
      const count = 1 + random(40);
      const list = new Uint8Array(count * 16);
      const mapped = Array.from({ length: count }, () => random(3) === 0);
      const listed = Array.from({ length: count }, () => random(3) === 0);
      const ranges = mapped.flatMap((used, number) => (used ? [number * BLOCK + 4096, number * BLOCK + 8192] : []));
      for (const [number, one] of listed.entries()) if (one) list.fill(0x77, number * 16 + 3, number * 16 + 9);
      const made = makePlan(count * BLOCK, Float64Array.from(ranges), count * BLOCK, list);
      const expected = mapped.flatMap((used, number) => (used || listed[number] ? [number] : []));
      assert.deepEqual([...made.numbers], expected);
      for (const [index, number] of expected.entries()) {
        assert.equal(made.states[index], listed[number] ? FLUSHED : PENDING);
        assert.equal(made.used[index], mapped[number] ? 4096 : BLOCK);
      }
    }
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
      const inUse = blocks(made).map(([number], index): [number, number] => [number * BLOCK, blockLength(made, index)]);
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
    }
  });
});

describe('manifest', () => {
  it('is SHA-256 over the list of hashes, zeros for what is not in use', () => {
    const made = plan(3 * BLOCK, [0, 4096], [2 * BLOCK, 2 * BLOCK + 8192]);
    made.hashes.fill(0xab, 0, 16);
    made.hashes.fill(0xcd, 16, 32);
    // By Python's hashlib: sha256(b'\xab' * 16 + bytes(16) + b'\xcd' * 16).
    assert.equal(manifestOf(made), '3c46605430ed229b5104cf982394559d6062dcacf1945c84ff8822fe42a713e9');
  });
});
