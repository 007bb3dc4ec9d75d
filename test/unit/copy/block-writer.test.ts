/** Content on its way to the target: BlockWriter and BlockMemory against a model, on a target that refuses what devices refuse. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { BlockMemory } from '../../../receiver/copy/block-memory.ts';
import { BlockWriter } from '../../../receiver/copy/block-writer.ts';
import type { ContentSink } from '../../../receiver/copy/requests.ts';
import { randomFrom } from './random.ts';
import { StrictTarget } from './strict-target.ts';

const BLOCK = 4 * 1024 * 1024;
const OFFSET = 2 * 4096;
const UNTOUCHED = Buffer.alloc(OFFSET, 0xdb);
const writer = new BlockWriter();
const memory = new BlockMemory();
after(() => {
  writer.free();
  memory.free();
});

type Part = { hole: boolean; length: number };

/** Parts that fill `length`: mostly on the 4 KiB grid, sometimes at any byte. */
function partsOf(random: (below: number) => number, length: number): Part[] {
  const parts: Part[] = [];
  const ragged = random(3) === 0;
  for (let at = 0; at < length; ) {
    const unit = ragged ? 1 + random(4096) : 4096;
    const size = Math.min(length - at, unit * (1 + random(random(4) === 0 ? 400 : 8)));
    parts.push({ hole: random(2) === 0, length: size });
    at += size;
  }
  return parts;
}

/** Gives the parts to a sink as a connection does, and returns what the block then holds. */
function feed(
  sink: ContentSink,
  target: StrictTarget,
  parts: readonly Part[],
  random: (below: number) => number,
): Buffer {
  const model = Buffer.alloc(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const { hole, length } of parts) {
    if (hole) sink.hole(at, length);
    else {
      for (let done = 0; done < length; ) {
        const room = sink.room(at + done, length - done);
        assert.ok(room.length > 0 && room.length <= length - done);
        const fill = 1 + random(255);
        model.fill(fill, at + done, at + done + room.length);
        target.fill(room.address, room.length, fill);
        sink.filled(at + done, room.length);
        done += room.length;
      }
    }
    at += length;
  }
  return model;
}

function check(target: StrictTarget, model: Buffer, what: string): void {
  assert.ok(target.content.subarray(OFFSET, OFFSET + model.length).equals(model), `${what}: the block is the model`);
  assert.ok(target.content.subarray(0, OFFSET).equals(UNTOUCHED), `${what}: nothing before it`);
  assert.ok(target.content.subarray(OFFSET + model.length).equals(UNTOUCHED), `${what}: nothing behind it`);
}

describe('a block', () => {
  it('arrives as it was sent, in aligned writes, whatever its parts are', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const random = randomFrom(seed);
      const length = random(3) === 0 ? 512 * (1 + random(8191)) : BLOCK;
      const parts = partsOf(random, length);
      const target = new StrictTarget(OFFSET + length + OFFSET, 512);
      writer.begin(target, OFFSET, length);
      const model = feed(writer, target, parts, random);
      const zeros = writer.end();
      check(target, model, `seed ${seed}`);
      assert.equal(
        zeros,
        parts.filter(({ hole }) => hole).reduce((sum, one) => sum + one.length, 0),
      );
      target.free();
    }
  });

  it('that was broken off leaves nothing behind in the next one', () => {
    const target = new StrictTarget(OFFSET + BLOCK, 4096);
    writer.begin(target, 0, OFFSET);
    target.fill(writer.room(0, 3000).address, 3000, 0x11);
    writer.filled(0, 3000);
    writer.hole(3000, 5000);
    writer.begin(target, OFFSET, 8192);
    const model = feed(writer, target, [{ hole: false, length: 8192 }], randomFrom(1));
    assert.equal(writer.end(), 0);
    assert.ok(target.content.subarray(OFFSET, OFFSET + 8192).equals(model));
    assert.ok(target.content.subarray(0, OFFSET).equals(UNTOUCHED));
    target.free();
  });

  it('has its long holes zeroed, and its short ones written', () => {
    const target = new StrictTarget(OFFSET + BLOCK, 4096);
    writer.begin(target, OFFSET, BLOCK);
    const parts = [4096, 60 * 1024, 4096, 64 * 1024, 4096].map((length, i) => ({ hole: i % 2 === 1, length }));
    parts.push({ hole: true, length: BLOCK - 136 * 1024 });
    feed(writer, target, parts, randomFrom(1));
    writer.end();
    assert.deepEqual(target.zeroed, [
      [OFFSET + 68 * 1024, 64 * 1024],
      [OFFSET + 136 * 1024, BLOCK - 136 * 1024],
    ]);
    target.free();
  });

  it('has room for a whole step at once: a frame is never cut', () => {
    const step = 256 * 1024;
    const target = new StrictTarget(OFFSET + BLOCK, 4096);
    writer.begin(target, OFFSET, BLOCK);
    for (const [at, length] of [
      [0, 3],
      [3, step],
      [3 + step, step],
      [3 + 2 * step, step],
      [3 + 3 * step, step],
      [3 + 4 * step, step],
    ] as const) {
      assert.equal(writer.room(at, length).length, length);
      writer.filled(at, length);
    }
    target.free();
  });

  it('in memory arrives the same, its chunks in any order', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = randomFrom(seed);
      const target = new StrictTarget(OFFSET + BLOCK + OFFSET, 512);
      const model = Buffer.alloc(BLOCK);
      let at = 0;
      const placed = partsOf(random, BLOCK).map((part) => {
        const start = at;
        at += part.length;
        return { ...part, start };
      });
      for (let i = placed.length - 1; i > 0; i--) {
        const j = random(i + 1);
        const [a, b] = [placed[i], placed[j]];
        if (a && b) [placed[i], placed[j]] = [b, a];
      }
      memory.begin();
      for (const { hole, start, length } of placed) {
        if (hole) memory.hole(start, length);
        else {
          const room = memory.room(start, length);
          const fill = 1 + random(255);
          target.fill(room.address, room.length, fill);
          model.fill(fill, start, start + length);
          memory.filled();
        }
      }
      memory.write(target, OFFSET, BLOCK);
      check(target, model, `seed ${seed}`);
      target.free();
    }
  });
});
