/** The replica of a job that has ended is checked against the manifest that was kept. */
import assert from 'node:assert/strict';
import { appendFile, writeFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { RehostError } from '../../../appliance/api/errors.ts';
import type { Job } from '../../../appliance/api/job.ts';
import { unreachable } from './facts.ts';
import { changes } from './scenarios.ts';
import { type Point, World } from './world.ts';

const CONCURRENCY = 8;

interface Ended {
  world: World;
  /** As it was before the check. */
  job: Job;
  /** How many points were passed by then. */
  passed: number;
}

/** A world with a job that has ended: well, or with its replicas kept. */
async function withEnded(kept = false): Promise<Ended> {
  const world = await World.open();
  if (kept) world.conversion = new RehostError('CONVERSION_FAILED', 'The guest has no kernel.');
  const { id } = await world.order();
  const job = await world.end(id);
  assert.equal(job.state, kept ? 'failed' : 'done', job.error?.message);
  return { world, job, passed: world.points.length };
}

async function open(t: TestContext, kept = false): Promise<Ended> {
  const ended = await withEnded(kept);
  t.after(() => ended.world.close());
  return ended;
}

/** The check ended, the job is what it was, and nothing of the check is left. */
async function check({ world, job }: Ended): Promise<Job> {
  const after = await world.end(job.id);
  assert.equal(after.state, job.state);
  assert.deepEqual(after.error, job.error);
  assert.deepEqual(after.kept, job.kept);
  assert.equal(after.replicaVerified, true);
  await world.check(after);
  return after;
}

for (const kept of [false, true]) {
  void test(`recheck: an untouched replica of a job that ${kept ? 'failed and kept it' : 'is done'} is as it was verified`, async (t) => {
    const ended = await open(t, kept);
    const { world, job } = ended;
    assert.equal(job.lastCheck, null);
    await world.engine.verify(job.id);
    const after = await check(ended);
    assert.equal(after.lastCheck?.ok, true, after.lastCheck?.message);
    assert.match(after.phases.find(({ state }) => state === 'recheck')?.detail ?? '', /as they were verified/);
  });

  void test(`recheck: a changed replica of a job that ${kept ? 'failed and kept it' : 'is done'} is found`, async (t) => {
    const ended = await open(t, kept);
    const { world, job } = ended;
    world.hypervisor.write(job.disks[0]?.replica ?? '', Buffer.from('copx'));
    await world.engine.verify(job.id);
    const after = await world.end(job.id);
    assert.deepEqual([after.state, after.lastCheck?.ok], [job.state, false]);
    assert.match(after.lastCheck?.message ?? '', /^VERIFY_MISMATCH: /);
    assert.deepEqual(world.hypervisor.violations, []);
    // A replica that is known to be damaged is nothing to go on with, whatever its size and time say.
    if (kept)
      await assert.rejects(world.engine.retry(job.id), {
        code: 'REPLICA_CHANGED',
        message: /A check of job \w+ has found its replica damaged/,
      });
  });
}

void test('recheck: a manifest that is not as it was signed judges nothing', async (t) => {
  for (const damage of [
    (world: World, id: string) => appendFile(world.jobFile(id, 'manifest'), 'x'),
    (world: World, id: string) => writeFile(world.jobFile(id, 'manifest.sig'), '{}'),
    (world: World, id: string) => writeFile(world.jobFile(id, 'manifest.sig'), 'garbage'),
    async (world: World, id: string) => {
      // Another job's record with this manifest: the signature names its own sums.
      const job = world.engine.get(id);
      job.manifests = job.manifests.map((manifest) => ({ ...manifest, sha256: 'cd'.repeat(32) }));
    },
  ]) {
    const { world, job } = await open(t);
    await damage(world, job.id);
    await assert.rejects(world.engine.verify(job.id), { code: 'MANIFEST_INVALID' });
    assert.equal(world.engine.get(job.id).state, 'done');
  }
});

void test('recheck: a job without a verified replica is refused', async (t) => {
  const world = await World.open();
  t.after(() => world.close());
  world.copyFails = () => new RehostError('SOURCE_READ_FAILED', 'A sector.');
  const { id } = await world.order();
  await assert.rejects(world.engine.verify(id), { code: 'REQUEST_INVALID' });
  await world.end(id);
  await assert.rejects(world.engine.verify(id), { code: 'REQUEST_INVALID' });
  await assert.rejects(world.engine.verify('nobody'), { code: 'JOB_UNKNOWN' });
});

void test('recheck: neither the source machine nor the name is taken by it, and a pause holds it', async (t) => {
  const ended = await open(t);
  const { world, job } = ended;
  world.at('receiver.verify.status 3', 'before', () => world.engine.pause(job.id));
  await world.engine.verify(job.id);
  await world.until(() => world.durable(job.id)?.paused?.code === 'PAUSED');
  assert.equal(world.guest.limits.paused, true);
  const other = await world.order({ name: 'copy-2' });
  const second = await world.end(other.id);
  assert.equal(second.state, 'done', second.error?.message);
  await world.engine.resume(job.id);
  assert.equal((await check(ended)).lastCheck?.ok, true);
});

/** The points of an undisturbed check. */
async function points(): Promise<Point[]> {
  const { world, job, passed } = await withEnded();
  try {
    await world.engine.verify(job.id);
    await world.end(job.id);
    return world.points.slice(passed);
  } finally {
    await world.close();
  }
}

async function inEnded(work: (ended: Ended) => Promise<void>): Promise<void> {
  const ended = await withEnded();
  try {
    await work(ended);
  } finally {
    await ended.world.close();
  }
}

void test('recheck: killed at every point, the check is made all the same', { concurrency: CONCURRENCY }, async (t) => {
  const runs = (await points()).flatMap((point) =>
    (changes(point) ? (['before', 'after'] as const) : (['before'] as const)).map((moment) =>
      t.test(`killed ${moment} ${point.name}`, () =>
        inEnded(async (ended) => {
          const { world, job } = ended;
          let killed = false;
          world.at(point.name, moment, () => {
            killed = true;
            world.kill();
          });
          await Promise.race([world.engine.verify(job.id), world.died]);
          const after = await check(ended);
          assert.ok(killed, 'the point was never reached');
          // Before the order to check was durable there is none.
          if (after.phases.some(({ state }) => state === 'recheck')) assert.equal(after.lastCheck?.ok, true);
          else assert.equal(after.lastCheck, null);
        }),
      ),
    ),
  );
  await Promise.all(runs);
});

void test('recheck: cancelled at every point, nothing is lost', { concurrency: CONCURRENCY }, async (t) => {
  const all = await points();
  // Before the first record there is no check that could be cancelled; after the last one it has ended.
  const runs = all.slice(1, -1).map((point) =>
    t.test(`cancelled before ${point.name}`, () =>
      inEnded(async (ended) => {
        const { world, job } = ended;
        let said: Promise<unknown> | undefined;
        world.at(point.name, 'before', () => {
          said = world.engine.cancel(job.id).catch((error: unknown) => error);
        });
        await world.engine.verify(job.id);
        const after = await check(ended);
        assert.ok(!((await said) instanceof Error), String(await said));
        assert.notEqual(after.lastCheck?.ok, false);
        assert.equal(after.cancelRequested, false);
      }),
    ),
  );
  await Promise.all(runs);
});

void test('recheck: the hypervisor fails at every call, once or for good', { concurrency: CONCURRENCY }, async (t) => {
  const calls = (await points()).filter(({ kind }) => kind.startsWith('driver.'));
  const runs = calls.flatMap(({ name }) =>
    [false, true].map((forGood) =>
      t.test(`${forGood ? 'from' : 'at'} ${name}`, () =>
        inEnded(async (ended) => {
          const { world, job } = ended;
          let away = false;
          world.fails = (point) => {
            if (!point.kind.startsWith('driver.')) return;
            away = forGood ? away || point.name === name : point.name === name;
            if (away) unreachable();
          };
          await world.engine.verify(job.id);
          const after = await world.end(job.id);
          assert.equal(after.state, 'done');
          assert.equal(after.error, null);
          assert.notEqual(after.lastCheck?.ok, false);
          if (!forGood) {
            assert.equal((await check(ended)).lastCheck?.ok, true);
            return;
          }
          assert.match(after.warnings.join(), /may be left on hypervisor 'local'.*next check removes it/);
          world.fails = () => {};
          await world.engine.verify(job.id);
          assert.equal((await check(ended)).lastCheck?.ok, true);
        }),
      ),
    ),
  );
  await Promise.all(runs);
});
