/** A person pauses a job, changes its limits, resumes it. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { JOB_STATES, type JobState } from '../../../appliance/api/job.ts';
import { isWorking } from '../../../appliance/job/states.ts';
import { NAME } from './facts.ts';
import { World } from './world.ts';

async function open(t: TestContext): Promise<World> {
  const world = await World.open();
  t.after(() => world.close());
  return world;
}

/** A point in the middle of each state. */
const INSIDE: Readonly<Partial<Record<JobState, string>>> = {
  provision: 'driver.createVolume 5',
  'start-transfer': 'driver.startVmWithConsole 1',
  copy: 'receiver.copy.status 3',
  verify: 'receiver.verify.status 1',
  overlay: 'driver.createOverlay 1',
  convert: 'receiver.convert.status 1',
  'stop-transfer': 'receivers.forget 1',
  'define-target': 'driver.ensureIsolatedNetwork 1',
  prove: 'driver.vmState 6',
};
/** Where it then stands. */
const STANDS: Readonly<Partial<Record<JobState, JobState>>> = {
  provision: 'start-transfer',
  'start-transfer': 'copy',
  copy: 'copy',
  verify: 'verify',
  overlay: 'convert',
  convert: 'stop-transfer',
  'stop-transfer': 'define-target',
  'define-target': 'prove',
  prove: 'prove',
};

for (const state of JOB_STATES) {
  // The last state of a job that goes well has nothing after it that could wait.
  if (!isWorking(state) || ['preflight', 'hand-over', 'clean-up'].includes(state)) continue;
  for (const then of ['resume', 'cancel'] as const) {
    void test(`engine: paused in '${state}', over a restart, then ${then}`, async (t) => {
      const world = await open(t);
      world.at(INSIDE[state] ?? '', 'before', async () => {
        const [job] = world.engine.list();
        assert.equal(job?.state, state);
        await world.engine.pause(job?.id ?? '');
      });
      const { id } = await world.order();
      const standing = () => {
        const job = world.durable(id);
        return job?.paused?.code === 'PAUSED' && job.state === STANDS[state];
      };
      await world.until(standing);
      if (state === 'prove') assert.equal(world.hypervisor.vms.get(NAME)?.state, 'paused');
      if (state === 'copy' || state === 'verify') assert.equal(world.guest.limits.paused, true);
      await world.engine.pause(id);
      await world.restart();
      await world.until(standing);
      await world.idle(150);
      const before = world.points.length;
      await world.idle();
      const quiet = /^(driver\.vmState|agent\.|receiver\.)/;
      assert.deepEqual(
        world.points.slice(before).filter(({ kind }) => !quiet.test(kind)),
        [],
        'a job that stands still does nothing',
      );
      assert.ok(standing());
      await world.engine[then](id);
      if (then === 'resume') await world.engine.resume(id);
      const job = await world.end(id);
      assert.equal(job.state, then === 'resume' ? 'done' : 'cancelled', job.error?.message);
      await world.check(job);
      await assert.rejects(world.engine.pause(id), { code: 'JOB_ENDED' });
      await assert.rejects(world.engine.resume(id), { code: 'JOB_ENDED' });
    });
  }
}

void test('engine: limits reach both ends while it copies, and are in the order afterwards', async (t) => {
  const world = await open(t);
  world.at('receiver.copy.status 2', 'before', async () => {
    const [job] = world.engine.list();
    assert.deepEqual(world.guest.limits, { bytesPerSecond: 1_000_000, paused: false });
    assert.deepEqual(world.source.manners, { readPriority: 'low', backOff: false });
    await world.engine.limit(job?.id ?? '', { bytesPerSecond: null, readPriority: 'idle', backOff: true });
  });
  let seen: unknown;
  world.at('receiver.verify.start 1', 'before', () => {
    seen = [world.guest.limits.bytesPerSecond, world.source.manners];
  });
  const { id } = await world.order({ bytesPerSecond: 1_000_000, readPriority: 'low' });
  const job = await world.end(id);
  assert.equal(job.state, 'done', job.error?.message);
  assert.deepEqual(seen, [null, { readPriority: 'idle', backOff: true }]);
  const { bytesPerSecond, readPriority, backOff } = job.order;
  assert.deepEqual(
    { bytesPerSecond, readPriority, backOff },
    { bytesPerSecond: undefined, readPriority: 'idle', backOff: true },
  );
  await assert.rejects(world.engine.limit(id, { backOff: false }), { code: 'JOB_ENDED' });
});

void test('engine: a limit or a pause that cannot be written was not made', async (t) => {
  const world = await open(t);
  const refused: unknown[] = [];
  world.at('receiver.copy.status 3', 'before', async () => {
    const [job] = world.engine.list();
    const fails = world.fails;
    world.fails = ({ kind }) => {
      if (kind === 'store.save') throw new Error('ENOSPC');
    };
    for (const change of [world.engine.limit(job?.id ?? '', { backOff: true }), world.engine.pause(job?.id ?? '')])
      refused.push(await change.catch((error: Error) => error.message));
    world.fails = fails;
    assert.deepEqual([job?.order.backOff, job?.pauseRequested], [undefined, false]);
  });
  const { id } = await world.order();
  const job = await world.end(id);
  assert.equal(job.state, 'done', job.error?.message);
  assert.deepEqual(refused, ['ENOSPC', 'ENOSPC']);
});
