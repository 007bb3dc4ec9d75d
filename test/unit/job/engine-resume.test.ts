/** Ends of a copy go away and come back, or do not. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { RehostError } from '../../../appliance/api/errors.ts';
import type { Job } from '../../../appliance/api/job.ts';
import { World } from './world.ts';

async function open(t: TestContext): Promise<World> {
  const world = await World.open();
  t.after(() => world.close());
  return world;
}

async function ended(world: World): Promise<Job> {
  const { id } = await world.order();
  const job = await world.end(id);
  await world.check(job);
  return job;
}

/** Blocks that were copied before are not copied again: the detail says how many bytes an earlier attempt had. */
function resumed(job: Job): string[] {
  return job.phases.flatMap(({ state, detail }) => {
    const [, bytes] = / (\d+) from earlier attempts/.exec(detail) ?? [];
    return state === 'copy' && bytes !== undefined ? [bytes] : [];
  });
}

const cut = () => new RehostError('TRANSFER_FAILED', 'The source was silent for 120 s.');

void test('engine: a transfer VM that dies in the copy is started again, with a new secret, and copies what is missing', async (t) => {
  const world = await open(t);
  world.at('receiver.copy.status 3', 'after', () => world.transferVmDies());
  const job = await ended(world);
  assert.deepEqual([job.state, job.attempts, job.fruitless], ['done', 2, 0], job.error?.message);
  assert.deepEqual(resumed(job), ['8192']);
  assert.equal(new Set(world.fate.tokens.map(({ token }) => token)).size, 2);
  assert.match(world.console(job.id), /receiver starts\r\nKernel panic - not syncing\r\nreceiver starts\r\n$/);
});

for (const [before, after] of [
  ['receiver.copy.status 2', 'receiver.copy.status 4'],
  ['receiver.verify.status 1', 'receiver.verify.journal 1'],
  ['receiver.convert.status 1', 'receiver.convert.status 2'],
] as const) {
  void test(`engine: a transfer VM's last words are kept also when the orchestrator was started anew at ${before}`, async (t) => {
    const world = await open(t);
    world.at(before, 'after', () => world.kill());
    world.at(after, 'before', () => world.transferVmDies());
    const job = await ended(world);
    assert.equal(job.state, 'done', job.error?.message);
    assert.match(world.console(job.id), /Kernel panic/);
  });
}

void test('engine: a receiver that was started anew in its VM goes on in it', async (t) => {
  const world = await open(t);
  world.at('receiver.copy.status 3', 'after', () => world.receiverForgets());
  const job = await ended(world);
  assert.deepEqual([job.state, job.attempts], ['done', 2], job.error?.message);
  assert.deepEqual(resumed(job), ['8192']);
  assert.equal(world.points.filter(({ name }) => name.startsWith('driver.startVmWithConsole')).length, 2);
});

for (const [state, point, starts] of [
  ['copy', 'receiver.copy.status 3', ['0', '8192']],
  ['verify', 'receiver.verify.status 1', ['0', '12288']],
] as const) {
  void test(`engine: a receiver that falls silent in '${state}' while its VM runs is waited for, then its VM is started anew`, async (t) => {
    const world = await open(t);
    world.at(point, 'after', () => world.receiverHangs());
    const job = await ended(world);
    assert.deepEqual([job.state, job.attempts], ['done', 2], job.error?.message);
    assert.deepEqual(resumed(job), starts.slice(state === 'copy' ? 1 : 0));
  });
}

void test('engine: a receiver that forgets everything time and again gets a new VM before it is given up', async (t) => {
  const world = await open(t);
  world.copyFails = () => {
    world.receiverForgets();
    return undefined;
  };
  const { id } = await world.order();
  const job = await world.end(id);
  assert.equal(job.state, 'failed');
  const starts = world.points.filter(({ kind }) => kind === 'driver.startVmWithConsole').length;
  assert.ok(starts > 1, `${starts} starts`);
  await world.check(job);
});

void test('engine: a VM that dies in the verification costs no second copy', async (t) => {
  const world = await open(t);
  world.at('receiver.verify.journal 2', 'before', () => world.transferVmDies());
  const job = await ended(world);
  assert.deepEqual([job.state, job.attempts], ['done', 2], job.error?.message);
  assert.deepEqual(resumed(job), ['0', '12288']);
});

for (const point of [
  'receiver.copy.release 1',
  'driver.detachDisk 1',
  'driver.attachDisk 1',
  'receiver.convert.start 1',
  'receiver.convert.status 2',
]) {
  void test(`engine: a VM that dies at ${point} is started anew, and converts on new overlays without a second copy`, async (t) => {
    const world = await open(t);
    world.at(point, 'before', () => {
      world.transferVmDies();
      // As libvirt does when QEMU goes away in the middle of a call.
      if (point.startsWith('driver')) throw new RehostError('HYPERVISOR_REFUSED', 'The monitor is gone.');
    });
    const job = await ended(world);
    assert.deepEqual([job.state, job.attempts], ['done', 1], job.error?.message);
    assert.equal(job.phases.filter(({ state }) => state === 'provision').length, 2);
    assert.equal(world.points.filter(({ kind }) => kind === 'receiver.copy.start').length, 1);
  });
}

void test('engine: a VM that dies whenever it converts is given up, and the verified replica is kept', async (t) => {
  const world = await open(t);
  world.fails = ({ kind }) => {
    if (kind === 'receiver.convert.status') world.transferVmDies();
  };
  const { id } = await world.order();
  const job = await world.end(id);
  assert.equal(job.error?.code, 'RECEIVER_LOST');
  assert.equal(job.phases.filter(({ state }) => state === 'convert').length, 5);
  assert.equal(job.kept.length, 1);
  await world.check(job);
});

void test('engine: a VM that dies whenever it copies is given up, and nothing is left', async (t) => {
  const world = await open(t);
  // The first attempt gets one block written, which begins the count anew; then nothing.
  world.at('receiver.copy.status 2', 'after', () => {
    world.copyFails = () => {
      world.transferVmDies();
      return undefined;
    };
  });
  const job = await ended(world);
  assert.equal(job.error?.code, 'RECEIVER_LOST');
  assert.match(job.error?.message ?? '', /begun 5 times without anything new/);
  assert.equal(job.attempts, 5);
});

void test('engine: a VM that dies whenever it verifies is given up too', async (t) => {
  const world = await open(t);
  world.fails = ({ kind }) => {
    if (kind === 'receiver.verify.status') world.transferVmDies();
  };
  const job = await ended(world);
  assert.equal(job.error?.code, 'RECEIVER_LOST');
  assert.equal(job.phases.filter(({ state }) => state === 'verify').length, 5);
});

void test('engine: a source that was silent for too long is pulled from again', async (t) => {
  const world = await open(t);
  let failures = 0;
  world.copyFails = () => (failures++ < 3 ? cut() : undefined);
  const job = await ended(world);
  assert.deepEqual([job.state, job.attempts], ['done', 4], job.error?.message);
});

void test('engine: a source that stays silent fails the job with the reason', async (t) => {
  const world = await open(t);
  world.copyFails = cut;
  const job = await ended(world);
  assert.equal(job.error?.code, 'TRANSFER_FAILED');
  assert.match(job.error?.message ?? '', /silent for 120 s/);
  assert.equal(job.attempts, 5);
});

for (const code of ['SOURCE_READ_FAILED', 'TARGET_WRITE_FAILED', 'SOURCE_CHANGED'] as const) {
  void test(`engine: ${code} is no reason to begin again`, async (t) => {
    const world = await open(t);
    world.copyFails = () => new RehostError(code, 'It cannot be.');
    const job = await ended(world);
    assert.deepEqual([job.error?.code, job.attempts], [code, 1]);
  });
}

void test('engine: a copy that finds no room to begin stands, says why, and begins when there is room', async (t) => {
  const world = await open(t);
  const shown: unknown[] = [];
  world.fails = ({ kind }) => {
    const [job] = world.engine.list();
    if (job?.paused) shown.push(job.paused.code);
    if (kind !== 'receiver.copy.start' || shown.length > 20) return;
    throw new RehostError('POOL_FULL', 'No room for the journal.');
  };
  const job = await ended(world);
  assert.deepEqual([job.state, job.fruitless, job.paused], ['done', 0, null], job.error?.message);
  assert.ok(shown.length > 0 && shown.every((code) => code === 'POOL_FULL'));
});

void test('engine: a source machine that was booted again goes on with a new token', async (t) => {
  const world = await open(t);
  world.at('receiver.copy.status 3', 'after', () => world.agentReboots());
  const job = await ended(world);
  assert.deepEqual([job.state, job.attempts], ['done', 2], job.error?.message);
  assert.deepEqual(resumed(job), ['8192']);
  assert.equal(world.points.filter(({ kind }) => kind === 'agent.snapshot.create').length, 2);
});

void test('engine: a source whose kernel names its disks otherwise after a reboot goes on', async (t) => {
  const world = await open(t);
  world.at('receiver.copy.status 3', 'after', () => {
    world.source.renamed = true;
    world.agentReboots();
  });
  const job = await ended(world);
  assert.deepEqual([job.state, job.attempts], ['done', 2], job.error?.message);
  assert.match(await readFile(world.log(job.id).path, 'utf8'), /disk 'sda' is \/dev\/was-sda by now/);
});

void test('engine: a source machine whose disk changed meanwhile is not copied further', async (t) => {
  const world = await open(t);
  world.at('receiver.copy.status 3', 'after', () => {
    world.source.content = 'written to by its own system';
    world.agentReboots();
  });
  const job = await ended(world);
  assert.equal(job.error?.code, 'SOURCE_CHANGED');
});

void test('engine: while the source machine is away the job says so and waits', async (t) => {
  const world = await open(t);
  world.at('receiver.copy.status 3', 'after', () => {
    world.agentLeaves();
    world.source.reboot();
  });
  const { id } = await world.order();
  await world.until(() => world.durable(id)?.paused?.code === 'AGENT_LOST');
  const waiting = world.durable(id);
  assert.equal(waiting?.state, 'copy');
  assert.match(waiting?.paused?.message ?? '', /boot it into the agent again and approve it/);
  // Also over a restart of the orchestrator: since when it waits is not forgotten.
  await world.restart();
  assert.equal(world.engine.get(id).paused?.since, waiting?.paused?.since);
  world.agentAway = false;
  world.agentDials();
  const job = await world.end(id);
  assert.equal(job.state, 'done', job.error?.message);
  await world.check(job);
});

void test('engine: a source machine that stays away ends the job', async (t) => {
  const world = await open(t);
  world.at('receiver.copy.status 3', 'after', () => {
    world.agentLeaves();
    world.source.exports.clear();
  });
  const job = await ended(world);
  assert.equal(job.error?.code, 'AGENT_LOST');
});

void test('engine: a job that waits for its source machine can be cancelled', async (t) => {
  const world = await open(t);
  world.at('receiver.copy.status 3', 'after', () => {
    world.agentLeaves();
    world.source.exports.clear();
  });
  const { id } = await world.order();
  await world.until(() => world.durable(id)?.paused?.code === 'AGENT_LOST');
  await world.engine.cancel(id);
  const job = await world.end(id);
  assert.equal(job.state, 'cancelled');
  await world.check(job);
});

void test('engine: a hypervisor that is away for a while holds the job up, and the job says so', async (t) => {
  const world = await open(t);
  let asked = 0;
  const codes = new Set<string | undefined>();
  world.fails = ({ name, kind }) => {
    if (!kind.startsWith('driver.') || (asked === 0 && name !== 'driver.createOverlay 1') || asked > 4) return;
    asked++;
    codes.add(world.engine.list()[0]?.paused?.code);
    throw new RehostError('HYPERVISOR_UNREACHABLE', 'The hypervisor does not answer.');
  };
  const job = await ended(world);
  assert.equal(job.state, 'done', job.error?.message);
  assert.ok(codes.has('HYPERVISOR_UNREACHABLE'));
});

void test('engine: what the source could not read is in the record, with a sentence for each disk', async (t) => {
  const world = await open(t);
  world.fate.badRanges = [
    { offset: 4096, length: 512 },
    { offset: 1048576, length: 4096 },
  ];
  const { id } = await world.order({ onReadError: 'record' });
  const job = await world.end(id);
  assert.equal(job.state, 'done', job.error?.message);
  assert.deepEqual(job.badRanges, [
    { disk: 'sda', offset: 4096, length: 512 },
    { disk: 'sda', offset: 1048576, length: 4096 },
  ]);
  assert.deepEqual(
    job.warnings.filter((warning) => warning.includes('could not be read')),
    ["Disk 'sda': 4608 bytes could not be read and are zeros in the copy: 512 at 4096, 4096 at 1048576."],
  );
});
