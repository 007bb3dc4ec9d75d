import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { BackOff } from '../../../agent/export/back-off.ts';
import { CompressionPolicy } from '../../../agent/export/compression.ts';
import { MannerlyReads, Manners } from '../../../agent/export/manners.ts';
import { setIoPriority } from '../../../native/io-priority.ts';

const STEP = 256 * 1024;

describe('compression', () => {
  /** Steps of a connection on which a byte costs `sendNs`, of data that shrinks to `ratio` at `compressNs` a byte; how many are compressed. */
  function run(policy: CompressionPolicy, steps: number, sendNs: number, ratio: number, compressNs = 2): number {
    let compressed = 0;
    for (let i = 0; i < steps; i++) {
      const want = policy.want();
      const frame = want ? Math.round(STEP * ratio) : STEP;
      if (want) {
        policy.compressed(STEP, frame, STEP * compressNs);
        compressed++;
      }
      policy.sent(frame, frame * sendNs);
    }
    return compressed;
  }

  it('is used on a slow link when the data shrinks, after one look', () => {
    const compressed = run(new CompressionPolicy(), 320, 8, 0.4);
    assert.ok(compressed >= 320 - 32, `${compressed} of 320`);
  });

  it('is left alone on a fast link, and where the data does not shrink, but for a look now and then', () => {
    assert.equal(run(new CompressionPolicy(), 320, 0.5, 0.4), 10);
    assert.equal(run(new CompressionPolicy(), 320, 8, 1), 10);
    assert.equal(run(new CompressionPolicy(), 320, 2.05, 0.02), 10, 'nor for a gain that is hardly one');
  });

  it('follows the data and the link', () => {
    const policy = new CompressionPolicy();
    run(policy, 100, 8, 1);
    run(policy, 2000, 8, 0.3);
    assert.equal(run(policy, 100, 8, 0.3), 100, 'it came to shrink');
    run(policy, 500, 0.1, 0.3);
    assert.ok(run(policy, 320, 0.1, 0.3) <= 10, 'the link became fast');
  });
});

describe('backing off', () => {
  const pauses = (backOff: BackOff, times: readonly number[]): number =>
    times.reduce((sum, ms) => sum + backOff.after(ms), 0);
  const times = (count: number, ms: number): number[] => Array.from({ length: count }, () => ms);

  it('never pauses for a disk that is as it was', () => {
    assert.equal(pauses(new BackOff(), times(500, 20)), 0);
  });

  it('leaves a disk that became slow to others for most of the time, and takes it again afterwards', () => {
    const backOff = new BackOff();
    assert.equal(pauses(backOff, times(100, 6)), 0);
    const [wait, work] = [pauses(backOff, times(100, 60)), 100 * 60];
    assert.ok(wait > work && wait <= 3 * work, `${wait} ms of waiting in ${work} ms of reads`);
    pauses(backOff, times(60, 6));
    assert.equal(pauses(backOff, times(100, 6)), 0);
  });

  it('never pauses for reads that are fast all the same', () => {
    const backOff = new BackOff();
    pauses(backOff, times(100, 0.1));
    assert.equal(pauses(backOff, times(100, 5)), 0);
  });

  it('never pauses for longer than two seconds at a time', () => {
    const backOff = new BackOff();
    pauses(backOff, times(100, 10));
    assert.ok(times(50, 60_000).every((ms) => backOff.after(ms) <= 2_000));
  });
});

describe('manners', () => {
  it('are set from one thread and read in another, each by itself', () => {
    const manners = new Manners();
    const other = new Manners(manners.shared);
    assert.deepEqual([other.readPriority, other.backOff], ['normal', false]);
    manners.set({ readPriority: 'idle' });
    manners.set({ backOff: true });
    assert.deepEqual([other.readPriority, other.backOff], ['idle', true]);
    manners.set({});
    manners.set({ readPriority: 'low', backOff: false });
    assert.deepEqual([other.readPriority, other.backOff], ['low', false]);
  });

  it('are obeyed from the next read on', () => {
    const manners = new Manners();
    const slept: number[] = [];
    let length = 0;
    const reads = new MannerlyReads(manners, (ms) => slept.push(ms));
    const read = (ms: number, count: number): void => {
      for (let i = 0; i < count; i++) {
        reads.read(() => {
          length++;
          const end = performance.now() + ms;
          while (performance.now() < end);
        });
      }
    };
    read(0, 50);
    manners.set({ backOff: true });
    read(0, 50);
    read(50, 20);
    assert.ok(slept.length > 0, 'a disk that became slow is left alone');
    manners.set({ backOff: false });
    const before = slept.length;
    read(50, 2);
    assert.equal(slept.length, before);
    assert.equal(length, 122);
  });

  it('set the priority of this thread as the kernel knows it', (t) => {
    // ioprio_get(2) has no face in /proc: util-linux's ionice asks it.
    const ionice = (): string =>
      execFileSync('ionice', ['-p', readFileSync('/proc/thread-self/stat', 'utf8').split(' ')[0] ?? ''], {
        encoding: 'utf8',
      }).trim();
    t.after(() => setIoPriority('normal'));
    const manners = new Manners();
    const reads = new MannerlyReads(manners, () => {});
    for (const [readPriority, said] of [
      ['idle', 'idle'],
      ['low', 'best-effort: prio 7'],
      ['normal', 'best-effort: prio 4'],
    ] as const) {
      manners.set({ readPriority });
      reads.read(() => {});
      assert.equal(ionice(), said);
    }
  });
});
