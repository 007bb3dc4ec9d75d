import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { clear, equal, isZero, type Run, zeroRuns } from '../../../native/bytes.ts';
import { Memory } from '../../../native/memory.ts';
import { Xxh3Stream, xxh3At } from '../../../native/xxhash.ts';

describe('native memory', () => {
  it('is page-aligned, zeroed, and seen by its views', () => {
    const memory = new Memory(5000);
    assert.equal(memory.address % 4096, 0);
    assert.equal(memory.length, 8192);
    assert.ok(memory.bytes.every((byte) => byte === 0));
    memory.view.setUint32(4, 0x01020304);
    assert.deepEqual([...memory.bytes.subarray(4, 8)], [1, 2, 3, 4]);
    memory.free();
  });

  it('detaches its views when freed, so that a late use cannot touch unmapped memory', () => {
    const memory = new Memory(4096);
    memory.free();
    memory.free();
    assert.equal(memory.bytes.length, 0);
    assert.throws(() => memory.view.getUint8(0), TypeError);
  });

  it('says ENOMEM when there is no room', () => {
    assert.throws(() => new Memory(2 ** 50), { code: 'ENOMEM', syscall: 'mmap' });
  });
});

/** The same by looking at every byte. */
function slowZeroRuns(bytes: Uint8Array, start: number, length: number, grain: number, phase: number): Run[] {
  const runs: Run[] = [];
  const end = start + length;
  for (let at = start; at < end; ) {
    const next = Math.min(end, at + (grain - ((phase + at - start) % grain)));
    if (bytes.subarray(at, next).every((byte) => byte === 0)) {
      const last = runs.at(-1);
      if (last?.end === at) last.end = next;
      else runs.push({ start: at, end: next });
    }
    at = next;
  }
  return runs.filter((run) => run.end - run.start >= Math.min(grain, length));
}

describe('zero runs', () => {
  const memory = new Memory(1024 * 1024);

  it('agree with a look at every byte, on random sparse content', () => {
    let state = 1;
    const random = (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    for (let round = 0; round < 200; round++) {
      clear(memory.address, memory.length);
      for (let i = random(40); i > 0; i--) memory.bytes[random(65536)] = 1 + random(255);
      const start = random(2) === 0 ? random(9000) : 4096 * random(3);
      const length = 1 + random(50000);
      const grain = [512, 4096, 8192][random(3)] ?? 512;
      const phase = random(100000);
      assert.deepEqual(
        zeroRuns(memory, start, length, grain, phase),
        slowZeroRuns(memory.bytes, start, length, grain, phase),
        `round ${round}: ${start} ${length} ${grain} ${phase}`,
      );
    }
  });

  it('see a single byte in the middle of a grain', () => {
    clear(memory.address, memory.length);
    memory.bytes[300_003] = 1;
    const runs = zeroRuns(memory, 0, memory.length, 4096, 0);
    assert.deepEqual(runs, [
      { start: 0, end: 73 * 4096 },
      { start: 74 * 4096, end: memory.length },
    ]);
    assert.equal(isZero(memory, 300_004, 1000), true);
    assert.equal(isZero(memory, 300_003, 1), false);
    assert.equal(isZero(memory, 299_000, 1004), false);
    assert.equal(equal(memory.address, memory.address + 4096, 4096), true);
    assert.equal(equal(memory.address + 73 * 4096, memory.address, 4096), false);
  });
});

describe('XXH3-128', () => {
  const memory = new Memory(4096);
  const hex = (bytes: number): string => {
    const result = new DataView(new ArrayBuffer(16));
    xxh3At(memory.address, bytes, result, 0);
    return Buffer.from(result.buffer).toString('hex');
  };

  it('has the published canonical value of no bytes', () => {
    // XXH128 of the empty input with seed 0, from xxhash's own test vectors.
    assert.equal(hex(0), '99aa06d3014798d86001c324468d497f');
  });

  it('is the same in one call and as a stream', () => {
    memory.bytes.set(Buffer.from('the quick brown fox jumps over the lazy dog'.repeat(50)));
    const stream = new Xxh3Stream();
    const result = new DataView(new ArrayBuffer(16));
    for (const [at, length] of [
      [0, 1],
      [1, 700],
      [701, 1299],
    ] as const) {
      stream.add(memory.address + at, length);
    }
    stream.digest(result, 0);
    assert.equal(Buffer.from(result.buffer).toString('hex'), hex(2000));
    stream.add(memory.address, 10);
    stream.digest(result, 0);
    assert.equal(Buffer.from(result.buffer).toString('hex'), hex(10), 'a digest begins anew');
    stream.free();
  });
});
