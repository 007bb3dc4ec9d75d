/** Lists of ranges: what they hold when their memory grows, and that threads share it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { RANGES_MAX, RangeBuilder } from '../../../agent/export/allocation/ranges.ts';

/** Adds `count` ranges of 1 byte with a gap behind each. */
function fill(builder: RangeBuilder, count: number): void {
  for (let i = 0; i < count; i++) builder.add(2 * i, 2 * i + 1);
}

function assertFilled(list: Float64Array, count: number): void {
  assert.equal(list.length, 2 * count);
  assert.equal(
    list.findIndex((value, at) => value !== at),
    -1,
  );
}

describe('lists of ranges', () => {
  for (const count of [0, 1, 1024, 1025, 5000, RANGES_MAX, RANGES_MAX + 1]) {
    it(`hold ${count} ranges, when none may be dropped`, () => {
      const builder = new RangeBuilder(Number.POSITIVE_INFINITY);
      fill(builder, count);
      assert.equal(builder.count, count);
      assertFilled(builder.finish(), count);
    });
  }

  it('drop the shortest when they are full', () => {
    const builder = new RangeBuilder(4);
    const ranges = [
      [0, 100_000],
      [200_000, 200_010],
      [300_000, 400_000],
      [500_000, 500_010],
      [600_000, 700_000],
    ];
    for (const [start = 0, end = 0] of ranges) builder.add(start, end);
    assert.deepEqual([...builder.finish()], [0, 100_000, 300_000, 400_000, 600_000, 700_000]);
  });

  for (const count of [10, 5000]) {
    it(`stay as they are when their builder goes on, with ${count} ranges`, () => {
      const builder = new RangeBuilder();
      fill(builder, count);
      const list = builder.finish();
      assert.equal(builder.count, 0);
      // It would be joined to the last one, and behind that one.
      builder.add(2 * count - 1, 2 * count + 7);
      builder.add(2 * count + 9, 2 * count + 11);
      assertFilled(list, count);
      assert.deepEqual([...builder.finish()], [2 * count - 1, 2 * count + 7, 2 * count + 9, 2 * count + 11]);
    });

    it(`are shared with who receives them, with ${count} ranges`, () => {
      const builder = new RangeBuilder();
      fill(builder, count);
      const list = builder.finish();
      const { port1, port2 } = new MessageChannel();
      port1.postMessage(list);
      const received: unknown = receiveMessageOnPort(port2)?.message;
      port1.close();
      assert.ok(received instanceof Float64Array);
      assertFilled(received, count);
      list[0] = 4711;
      assert.equal(received[0], 4711);
    });
  }
});
