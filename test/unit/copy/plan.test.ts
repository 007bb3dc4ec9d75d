import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Board, FLUSH_EVERY_BYTES } from '../../../receiver/copy/board.ts';
import { DONE, eachHole, makePlan, PENDING, UsedRanges } from '../../../receiver/copy/plan.ts';
import { manifestOf } from '../../../receiver/copy/verify.ts';

const MIB = 1024 * 1024;

function plan(sizeBytes: number, ...ranges: [number, number][]) {
  const used = new UsedRanges(sizeBytes);
  for (const [start, end] of ranges) used.add(start, end);
  return makePlan(sizeBytes, used.finish());
}

const pieces = (of: ReturnType<typeof plan>): [number, number, number][] =>
  Array.from(of.offsets, (offset, i) => [offset, of.lengths[i] ?? -1, of.used[i] ?? -1]);

function holes(of: ReturnType<typeof plan>): [number, number][] {
  const found: [number, number][] = [];
  eachHole(of, (start, end) => found.push([start, end]));
  return found;
}

describe('plan', () => {
  it('cuts used ranges on a grid of 1 MiB', () => {
    const made = plan(10 * MIB, [MIB / 2, 2 * MIB + 4096]);
    assert.deepEqual(pieces(made), [
      [MIB / 2, MIB / 2, MIB / 2],
      [MIB, MIB, MIB],
      [2 * MIB, 4096, 4096],
    ]);
    assert.equal(made.usedBytes, 1.5 * MIB + 4096);
    assert.deepEqual(holes(made), [
      [0, MIB / 2],
      [2 * MIB + 4096, 10 * MIB],
    ]);
  });

  it('takes close ranges of one cell together and counts what is used of them', () => {
    const made = plan(4 * MIB, [0, 4096], [128 * 1024, 132 * 1024], [900 * 1024, 904 * 1024], [MIB, MIB + 4096]);
    assert.deepEqual(pieces(made), [
      [0, 132 * 1024, 8192],
      [900 * 1024, 4096, 4096],
      [MIB, 4096, 4096],
    ]);
  });

  it('rounds ranges outwards to 4 KiB, not beyond the disk', () => {
    const made = plan(MIB + 512, [5000, 6000], [7000, 9000], [MIB + 1, MIB + 2]);
    assert.deepEqual(pieces(made), [
      [4096, 8192, 8192],
      [MIB, 512, 512],
    ]);
    assert.deepEqual(holes(made), [
      [0, 4096],
      [12288, MIB],
    ]);
  });

  it('covers every used byte once and every other byte as a hole, on random maps', () => {
    let state = 3;
    const random = (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    for (let round = 0; round < 100; round++) {
      const size = 512 * (1 + random(40_000));
      const ranges: [number, number][] = [];
      for (let at = random(300_000); at < size; ) {
        const end = Math.min(size, at + 1 + random(3_000_000));
        ranges.push([at, end]);
        at = end + 1 + random(random(2) === 0 ? 20_000 : 2_000_000);
      }
      const made = plan(size, ...ranges);
      const all = [
        ...pieces(made).map(([at, length]) => [at, at + length, 1]),
        ...holes(made).map((hole) => [...hole, 0]),
      ];
      all.sort((a, b) => (a[0] ?? 0) - (b[0] ?? 0));
      let at = 0;
      for (const [start = 0, end = 0] of all) {
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
      for (const [offset, length, used] of pieces(made)) {
        assert.ok(length > 0 && length <= MIB && used <= length && offset % 4096 === 0);
        assert.equal(Math.floor(offset / MIB), Math.floor((offset + length - 1) / MIB));
      }
      assert.equal(
        pieces(made).reduce((sum, [, , used]) => sum + used, 0),
        made.usedBytes,
      );
    }
  });
});

describe('board', () => {
  it('gives each piece once, and again when it was given back', () => {
    const board = Board.create(plan(4 * MIB, [0, 4 * MIB]));
    assert.deepEqual([board.take(1), board.take(2), board.take(1)], [0, 1, 2]);
    board.giveBack(1);
    assert.equal(board.open, true);
    assert.deepEqual([board.take(2), board.take(2), board.take(2), board.take(2)], [3, 0, 2, undefined]);
    assert.equal(board.open, false);
    for (const piece of [0, 1, 2, 3]) board.done(piece, 0);
    board.giveBack(2);
    assert.equal(board.take(1), undefined, 'what is done stays done');
    assert.equal(board.complete, true);
    assert.ok(board.plan.states.every((state) => state === DONE));
    assert.notEqual(PENDING, DONE);
  });

  it('counts as flushed only what was copied before a flush that succeeded', () => {
    const board = Board.create(plan(4 * MIB, [0, 4 * MIB]));
    board.take(1);
    board.take(1);
    board.done(0, 4096);
    assert.throws(() =>
      board.flush(() => {
        throw new Error('EIO');
      }),
    );
    assert.equal(board.flushedBytes, 0);
    board.flush(() => board.done(1, 0));
    assert.equal(board.flushedBytes, MIB, 'what is written while the flush runs is not covered by it');
    assert.deepEqual([board.copiedBytes, board.zeroBytes], [2 * MIB, 4096]);
  });

  it('asks for a flush once in a while', () => {
    const size = FLUSH_EVERY_BYTES * 2 + 10 * MIB;
    const board = Board.create(plan(size, [0, size]));
    let asked = 0;
    for (let piece = 0; piece < board.plan.count; piece++) if (board.done(piece, 0)) asked++;
    assert.equal(asked, 2);
  });
});

describe('manifest', () => {
  it('is SHA-256 over offset, length and hash of every piece', () => {
    const made = plan(2 * MIB, [0, 4096], [MIB, MIB + 8192]);
    made.hashes.fill(0xab, 0, 16);
    made.hashes.fill(0xcd, 16, 32);
    // By Python's hashlib over both entries, written out in hex.
    assert.equal(manifestOf(made), '157a233c8a628f8943bcf0aa921f0b8bbf3ac5719846dcb5e7a69750f67101b3');
  });
});
