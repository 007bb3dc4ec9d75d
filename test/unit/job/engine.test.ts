/** The job engine, undisturbed and with what people do to it. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { RehostError } from '../../../appliance/api/errors.ts';
import { JOB_STATES, type Job } from '../../../appliance/api/job.ts';
import { MACHINE, machine, NAME } from './facts.ts';
import { World } from './world.ts';

async function open(t: TestContext): Promise<World> {
  const world = await World.open();
  t.after(() => world.close());
  return world;
}

async function ended(world: World): Promise<Job> {
  const { id } = await world.order();
  return await world.end(id);
}

const broken = () => new RehostError('CONVERSION_FAILED', 'The guest has no kernel.');
const count = (world: World, kind: string): number => world.points.filter((point) => point.kind === kind).length;

void test('engine: an undisturbed job passes every state, ends in done and leaves nothing but its target VM', async (t) => {
  const world = await open(t);
  const job = await ended(world);
  assert.equal(job.state, 'done', job.error?.message);
  await world.check(job);
  assert.deepEqual(
    job.phases.map(({ state }) => state),
    JOB_STATES.filter(
      (state) => !['done', 'clean-up', 'failed', 'cancelled', 'recheck', 'recheck-end'].includes(state),
    ),
  );
  assert.deepEqual(world.warnings, []);
});

for (const [what, code] of [
  ['conversion', 'CONVERSION_FAILED'],
  ['proof', 'PROOF_FAILED'],
] as const) {
  void test(`engine: a retry after a failed ${what} makes no second copy`, async (t) => {
    const world = await open(t);
    if (what === 'conversion') world.conversion = broken();
    else world.boots = false;
    const { id } = await world.order();
    const failed = await world.end(id);
    assert.equal(failed.error?.code, code);
    assert.deepEqual(
      failed.kept,
      ['sda'].map((disk) => `rehost-${id}-${disk}.raw`),
    );
    await world.check(failed);
    world.conversion = undefined;
    world.boots = true;
    await world.engine.retry(id);
    const job = await world.end(id);
    assert.equal(job.state, 'done', job.error?.message);
    assert.equal(count(world, 'receiver.copy.start'), 1);
    await world.check(job);
  });
}

void test('engine: a retry takes no replica that was changed or removed, and no name that is taken', async (t) => {
  const world = await open(t);
  world.conversion = broken();
  const failed = await ended(world);
  const [replica = ''] = failed.kept;
  await world.hypervisor.defineVm({
    name: NAME,
    memoryBytes: 1,
    cpus: 1,
    acceleration: 'tcg',
    firmware: 'bios',
    disks: [],
    nics: [],
    video: false,
    owner: { jobId: 'other001', role: 'target' },
  });
  await assert.rejects(world.engine.retry(failed.id), { code: 'NAME_TAKEN' });
  await world.hypervisor.destroyVm(NAME);
  world.hypervisor.write(replica, Buffer.from('changed'));
  await assert.rejects(world.engine.retry(failed.id), { code: 'REPLICA_CHANGED' });
  await world.hypervisor.deleteVolume('default', replica);
  await assert.rejects(world.engine.retry(failed.id), { code: 'REPLICA_CHANGED' });
  assert.deepEqual(world.engine.get(failed.id), failed, 'a refusal changes nothing');
  await world.engine.cancel(failed.id);
  const job = await world.end(failed.id);
  assert.equal(job.state, 'cancelled');
  await assert.rejects(world.engine.retry(job.id), { code: 'JOB_ENDED' });
});

void test('engine: a retry while the end is being written drives the job once', async (t) => {
  const world = await open(t);
  world.conversion = broken();
  const saves = (await ended(world)) && count(world, 'store.save');
  const again = await open(t);
  again.conversion = broken();
  let retried: Promise<unknown> | undefined;
  again.at(`store.save ${saves}`, 'before', async () => {
    again.conversion = undefined;
    const [job] = again.engine.list();
    assert.equal(job?.state, 'failed');
    retried = again.engine.retry(job?.id ?? '');
    await Promise.race([retried, sleep(5)]);
  });
  const { id } = await again.order();
  await again.end(id);
  await retried;
  const job = await again.end(id);
  assert.equal(job.state, 'done', job.error?.message);
  assert.equal(job.phases.filter(({ state }) => state === 'provision').length, 2);
  await again.check(job);
});

void test('engine: a record that cannot be written for a while holds the job up, and nothing is lost', async (t) => {
  const world = await open(t);
  let refused = 0;
  world.fails = ({ name, kind }) => {
    if (kind !== 'store.save' || name === 'store.save 1' || refused % 4 === 3) {
      if (kind === 'store.save' && name !== 'store.save 1') refused++;
      return;
    }
    refused++;
    throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  };
  const job = await ended(world);
  assert.equal(job.state, 'done', job.error?.message);
  assert.ok(refused > 40, `${refused}`);
  assert.match(world.warnings.join('\n'), /waits: its record cannot be written: .*ENOSPC/);
  await world.check(job);
});

void test('engine: an agent that was away when its job ended is told to let go when it is back', async (t) => {
  const world = await open(t);
  world.at('receiver.verify.start 1', 'before', () => world.agentLeaves());
  const job = await ended(world);
  assert.equal(job.state, 'done', job.error?.message);
  assert.equal(job.releasePending, true);
  await world.check(job);
  world.agentAway = false;
  world.agentDials();
  await world.engine.settle(MACHINE);
  assert.equal(world.durable(job.id)?.releasePending, false);
  assert.equal(world.source.snapshots.size, 0);
});

void test('engine: of two orders at once for one machine or one name, one wins', async (t) => {
  const other = machine('fedcba9876543210', 'mail');
  for (const [second, code] of [
    [{ machine: 'web', name: 'copy-2' }, 'MACHINE_BUSY'],
    [{ machine: 'mail', name: NAME }, 'NAME_TAKEN'],
  ] as const) {
    const world = await open(t);
    world.machines.push(other);
    world.agentDials();
    const [won, lost] = await Promise.allSettled([world.order(), world.order(second)]);
    assert.equal(lost.status, 'rejected');
    assert.equal(lost.reason.code, code);
    assert.ok(won.status === 'fulfilled');
    assert.equal(world.engine.list().length, 1);
    const job = await world.end(won.value.id);
    assert.equal(job.state, 'done', job.error?.message);
  }
});
