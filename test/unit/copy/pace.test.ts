import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Worker } from 'node:worker_threads';
import { RehostError } from '../../../appliance/api/errors.ts';
import { Pace } from '../../../receiver/copy/pace.ts';
import { PatientTarget } from '../../../receiver/copy/patient-target.ts';
import { NullTarget } from '../../../receiver/target/null.ts';

const KIB = 1024;
const go = (): void => {};

/** Spends `bytes` in each of `threads` threads, `step` at a time. Resolves with the ns from the first's beginning to the last's end. */
async function spend(pace: Pace, threads: number, bytes: number, step: number): Promise<number> {
  const runs = Array.from(
    { length: threads },
    () =>
      new Promise<[bigint, bigint]>((resolve, reject) => {
        const work = { pace: pace.shared, bytes, step };
        const worker = new Worker(new URL('./spend-worker.ts', import.meta.url), { workerData: work });
        worker.once('message', resolve);
        worker.once('error', reject);
      }),
  );
  const spans = await Promise.all(runs);
  return Math.max(...spans.map(([, end]) => Number(end))) - Math.min(...spans.map(([start]) => Number(start)));
}

describe('pace', () => {
  it('keeps all threads together to the limit', async () => {
    const pace = new Pace();
    pace.limit(1024 * KIB);
    // 1.5 MiB at 1 MiB/s, of which 0.2 s may come at once. A slow machine takes longer, which is no fault of the limit.
    const ns = await spend(pace, 3, 512 * KIB, 32 * KIB);
    assert.ok(ns >= 1.29e9, `${ns} ns for what must take 1.3 s`);
  });

  it('asks nobody to wait without a limit, and forgets the debt of an old one', () => {
    const pace = new Pace();
    pace.limit(64 * KIB);
    // A year's worth: the thread would never come back, but for its own debt only the next one waits.
    let waits = 0;
    const giveUp = (): void => {
      waits++;
      throw new Error('gives up');
    };
    assert.throws(() => pace.spend(2 ** 41, giveUp), /gives up/);
    assert.throws(() => pace.spend(1, giveUp), /gives up/);
    pace.limit(2 ** 40);
    pace.spend(1, giveUp);
    pace.limit(null);
    pace.spend(2 ** 50, giveUp);
    assert.equal(waits, 2);
  });

  it('obeys a new limit at once, also in the middle of a wait under the old one', () => {
    for (const limit of [null, 2 ** 30]) {
      const pace = new Pace();
      pace.limit(1);
      let asked = 0;
      pace.spend(2 ** 41, () => {
        if (++asked === 2) new Pace(pace.shared).limit(limit);
        assert.ok(asked < 5, 'it waits on');
      });
      assert.equal(asked, 2);
    }
  });

  it('lets go when it is resumed, and asks meanwhile whether to give up', () => {
    const pace = new Pace();
    pace.waitWhileStanding(() => assert.fail('it is not paused'));
    pace.pause(true);
    assert.equal(new Pace(pace.shared).paused, true);
    let asked = 0;
    pace.waitWhileStanding(() => {
      if (++asked === 3) pace.pause(false);
    });
    assert.equal(asked, 3);
    pace.pause(true);
    assert.throws(
      () =>
        pace.waitWhileStanding(() => {
          throw new Error('stopped');
        }),
      /stopped/,
    );
  });
});

describe('a target without room', () => {
  /** Fails the first so many writes with this code. */
  class Small extends NullTarget {
    left: number;
    tries = 0;
    readonly #code: 'POOL_FULL' | 'TARGET_WRITE_FAILED';

    constructor(left: number, code: 'POOL_FULL' | 'TARGET_WRITE_FAILED') {
      super(4096);
      this.left = left;
      this.#code = code;
    }

    override write(): void {
      this.tries++;
      if (this.left-- > 0) throw new RehostError(this.#code, 'No.');
    }

    override zero(): void {
      this.write();
    }

    override flush(): void {
      this.write();
    }
  }

  it('is waited for, which shows, until there is some', () => {
    const pace = new Pace();
    const small = new Small(1, 'POOL_FULL');
    const shown: boolean[] = [];
    new PatientTarget(small, pace, () => shown.push(pace.full)).write(0, 0, 0);
    assert.equal(small.tries, 2);
    assert.ok(shown.length > 0 && shown.every(Boolean));
    assert.equal(pace.full, false);
  });

  it('is left when the copy is stopped', () => {
    const pace = new Pace();
    const stopped = (): never => {
      throw new Error('stopped');
    };
    assert.throws(() => new PatientTarget(new Small(9, 'POOL_FULL'), pace, stopped).zero(0, 0), /stopped/);
    assert.equal(pace.full, false);
  });

  it('fails a flush at once: a second one would succeed', () => {
    const small = new Small(1, 'POOL_FULL');
    const target = new PatientTarget(small, new Pace(), () => assert.fail('it waits'));
    assert.throws(() => target.flush(), { code: 'POOL_FULL' });
    assert.equal(small.tries, 1);
  });

  it('holds all others while somebody waits for room after a failed flush, and is left when the copy is stopped', () => {
    const pace = new Pace();
    let asked = 0;
    const stopped = (): void => {
      assert.ok(new Pace(pace.shared).standing);
      if (++asked === 2) throw new Error('stopped');
    };
    assert.throws(() => pace.holdForRoom(60_000, stopped), /stopped/);
    assert.deepEqual([pace.standing, pace.full], [false, false]);
    pace.waitWhileStanding(() => assert.fail('it stands'));
  });

  it('is the one failure that is waited for', () => {
    const failed = { code: 'TARGET_WRITE_FAILED' };
    const small = new Small(1, 'TARGET_WRITE_FAILED');
    assert.throws(() => new PatientTarget(small, new Pace(), go).write(0, 0, 0), failed);
    assert.throws(() => new PatientTarget(new Small(1, 'TARGET_WRITE_FAILED'), new Pace(), go).flush(), failed);
    assert.equal(small.tries, 1);
  });
});
