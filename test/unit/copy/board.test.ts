import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Board } from '../../../receiver/copy/board.ts';
import { FLUSHED, makePlan, PENDING, planFromList, TAINTED, WORKER, WRITTEN } from '../../../receiver/copy/plan.ts';
import { randomFrom } from './random.ts';

const BLOCK = 4 * 1024 * 1024;
const HASH = new Uint8Array(16).fill(0x11);

/** A board of so many blocks, all in use but for the last half of each. */
function boardOf(count: number): Board {
  const ranges = Array.from({ length: count }, (_, block) => [block * BLOCK, block * BLOCK + BLOCK / 2]).flat();
  return Board.create(makePlan(count * BLOCK, Float64Array.from(ranges)));
}

const nothing = (): void => {};
const fails = (): never => {
  throw new Error('EIO');
};

describe('board', () => {
  it('gives each block once, and again when it was given back', () => {
    const board = boardOf(4);
    assert.deepEqual([board.take(1), board.take(2), board.take(1)], [0, 1, 2]);
    board.giveBack(1);
    assert.equal(board.open, true);
    assert.deepEqual([board.take(2), board.take(2), board.take(2), board.take(2)], [3, 0, 2, undefined]);
    assert.equal(board.open, false);
    for (const block of [0, 1, 2, 3]) board.done(block, HASH, 0);
    board.giveBack(2);
    assert.equal(board.take(1), undefined, 'what is done stays done');
    assert.equal(board.complete, true);
    assert.ok(board.plan.states.every((state) => state === WRITTEN));
  });

  it('skips what an earlier attempt has recorded, and counts it', () => {
    const list = new Uint8Array(48);
    list.fill(1, 16, 32);
    const board = Board.create(planFromList(3 * BLOCK, list));
    assert.deepEqual([board.copiedBytes, board.flushedBytes, board.complete], [BLOCK, BLOCK, true]);
    assert.equal(board.take(1), undefined);
  });

  it('counts as flushed only what was written before a flush that succeeded, and was recorded', () => {
    const board = boardOf(4);
    for (let i = 0; i < 3; i++) board.take(1);
    board.done(0, HASH, 4096);
    assert.throws(() => board.flush(fails, nothing), /EIO/);
    assert.throws(() => board.flush(nothing, fails), /EIO/);
    assert.equal(board.flushedBytes, 0);
    const recorded: (readonly number[])[] = [];
    const flush = (during: () => void): number => board.flush(during, (blocks) => recorded.push(blocks));
    assert.equal(
      flush(() => board.done(1, HASH, 0)),
      1,
    );
    assert.equal(board.flushedBytes, BLOCK / 2, 'what is written while the flush runs is not covered by it');
    assert.deepEqual([board.copiedBytes, board.zeroBytes], [BLOCK, 4096]);
    assert.equal(flush(nothing), 1);
    assert.equal(flush(nothing), 0);
    assert.deepEqual(recorded, [[0], [1], []]);
    assert.equal(board.flushedBytes, BLOCK);
  });

  it('has what was not flushed copied again when it is distrusted, and nothing else', () => {
    const board = boardOf(4);
    for (let i = 0; i < 3; i++) board.take(1);
    board.done(0, HASH, 0);
    board.flush(nothing, nothing);
    board.done(1, HASH, 0);
    board.distrust();
    assert.deepEqual([...board.plan.states], [FLUSHED, PENDING, TAINTED + 1, PENDING]);
    assert.deepEqual([board.copiedBytes, board.flushedBytes], [BLOCK / 2, BLOCK / 2]);
    assert.deepEqual([board.take(2), board.take(2), board.take(2)], [3, 1, undefined]);
    board.done(2, HASH, 0);
    assert.equal(board.copiedBytes, BLOCK / 2, 'what was half written when it failed is begun anew');
    assert.equal(board.take(1), 2);
    board.done(2, HASH, 0);
    assert.equal(board.copiedBytes, BLOCK);
  });

  it('has opened again what a flush covers when a write fails while it runs', () => {
    const board = boardOf(3);
    const recorded: number[] = [];
    for (let i = 0; i < 2; i++) board.take(1);
    board.done(0, HASH, 0);
    const record = (blocks: readonly number[]): void => void recorded.push(...blocks);
    assert.equal(
      board.flush(() => board.distrust(), record),
      0,
    );
    assert.deepEqual(recorded, []);
    assert.deepEqual([...board.plan.states], [PENDING, TAINTED + 1, PENDING]);
    assert.deepEqual([board.copiedBytes, board.flushedBytes, board.complete, board.failures], [0, 0, false, 1]);
    assert.deepEqual([board.take(2), board.take(2), board.take(2)], [2, 0, undefined]);
  });

  it('notes unreadable ranges once each, in order, and not without end', () => {
    const board = boardOf(1);
    board.noteBad(8192, 4096);
    board.noteBad(0, 512);
    board.noteBad(8192, 4096);
    assert.deepEqual(board.badRanges(), [
      [0, 512],
      [8192, 4096],
    ]);
    for (let i = 2; i < 500; i++) board.noteBad(i * 65536, 512);
    assert.throws(() => board.noteBad(2 ** 40, 512), { code: 'SOURCE_READ_FAILED', message: /more than 500 ranges/ });
    assert.equal(board.badRanges().length, 500);
  });

  it('keeps its counters right whatever workers and flushes do, in any order', () => {
    for (let seed = 1; seed <= 60; seed++) interleave(seed);
  });
});

/** Random steps of three workers, flushes that succeed, fail and are overtaken, and distrust; the counters are compared with the states. */
function interleave(seed: number): void {
  const random = randomFrom(seed);
  const board = boardOf(1 + random(40));
  const { plan } = board;
  const held = new Map<number, number[]>([1, 2, 3].map((worker) => [worker, []]));
  const recorded = new Set<number>();
  const record = (blocks: readonly number[]): void => {
    for (const block of blocks) recorded.add(block);
  };
  const step = (): void => {
    const worker = 1 + random(3);
    const mine = held.get(worker) ?? [];
    const kind = random(10);
    if (kind < 4) {
      const block = board.take(worker);
      if (block !== undefined) mine.push(block);
    } else if (kind < 8) {
      const [block] = mine.splice(random(mine.length), 1);
      if (block !== undefined) board.done(block, HASH, 100);
    } else if (kind === 8 && random(4) === 0) {
      board.giveBack(worker);
      mine.length = 0;
    } else if (random(6) === 0) board.distrust();
  };
  const check = (): void => {
    const count = (wanted: (state: number) => boolean): number => plan.states.filter(wanted).length;
    assert.equal(board.open, count((state) => state === PENDING) > 0);
    assert.equal(board.complete, count((state) => state === PENDING || (state > WORKER && state < WRITTEN)) === 0);
    assert.equal(board.copiedBytes, (count((state) => state >= WRITTEN) * BLOCK) / 2);
    assert.equal(board.flushedBytes, (count((state) => state === FLUSHED) * BLOCK) / 2);
    for (const [worker, blocks] of held) {
      for (const block of blocks) {
        assert.ok([WORKER + worker, TAINTED + worker].includes(plan.states[block] ?? 0), `seed ${seed}`);
      }
    }
    for (const [block, state] of plan.states.entries()) {
      assert.equal(recorded.has(block), state === FLUSHED, `seed ${seed}: what is flushed is recorded, and stays so`);
    }
  };
  for (let round = 0; round < 400; round++) {
    if (random(12) > 0) step();
    else {
      const overtaken = (): void => {
        for (let i = random(4); i > 0; i--) step();
        if (random(3) === 0) fails();
      };
      try {
        board.flush(overtaken, record);
      } catch (error) {
        assert.match(String(error), /EIO/);
      }
    }
    check();
  }
  // And it comes to an end.
  for (const worker of held.keys()) board.giveBack(worker);
  for (let block = board.take(1); block !== undefined; block = board.take(1)) board.done(block, HASH, 0);
  board.flush(nothing, record);
  assert.equal(recorded.size, plan.count);
  assert.equal(board.flushedBytes, plan.usedBytes);
}
