import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JobState } from '../../../appliance/api/job.ts';
import { holderToReplace, machineToContinue } from '../../../appliance/machine/name-holder.ts';
import { emptyStore } from '../../../appliance/store/schema.ts';
import { inventory } from '../../lab/orchestrator/inventory.ts';
import { job } from '../../lab/orchestrator/job.ts';

const HOLDER = '0123456789abcdef';
const hardware = inventory({ uuid: 'u-1' });

function stored(state?: JobState) {
  const at = '2026-01-02T03:04:05.000Z';
  const machine = { id: HOLDER, publicKey: '', name: 'db', approvedAt: at, firstSeenAt: at, lastSeenAt: at };
  return {
    ...emptyStore(),
    machines: [{ ...machine, address: '192.0.2.1', inventory: hardware }],
    jobs: state === undefined ? [] : [job('abcdef1', { state, machineId: HOLDER })],
  };
}
const offline = (): boolean => false;

void test('name-holder: a job that has not ended keeps the name, one that has does not', () => {
  for (const state of ['preflight', 'copy', 'clean-up'] as const) {
    assert.throws(() => holderToReplace(stored(state), 'db', hardware, offline), {
      code: 'NAME_TAKEN',
      message: /job abcdef1 works with it/,
      next: /'rehost forget 0123456789abcdef'/,
    });
  }
  for (const state of ['done', 'failed', undefined] as const) {
    assert.equal(holderToReplace(stored(state), 'db', hardware, offline)?.id, HOLDER);
  }
});

void test('name-holder: a machine continues only while a job works with it, offline, under its name, and alone', () => {
  const found = (data: ReturnType<typeof stored>, name: string | undefined, facts = hardware, online = offline) =>
    machineToContinue(data, name, facts, online)?.id;
  assert.throws(() => found(stored('copy'), undefined), {
    code: 'REQUEST_INVALID',
    message: /looks like the machine 'db'/,
    next: /--name db/,
  });
  assert.equal(found(stored('copy'), 'db'), HOLDER);
  assert.equal(found(stored('copy'), 'web'), undefined);
  assert.equal(
    found(stored('copy'), 'db', hardware, () => true),
    undefined,
  );
  assert.equal(found(stored('copy'), 'db', inventory({ uuid: 'u-2' })), undefined);
  for (const state of ['done', 'failed', 'recheck', undefined] as const) {
    assert.equal(found(stored(state), 'db'), undefined, state);
  }
  const two = stored('copy');
  const [machine] = two.machines;
  assert.ok(machine);
  two.machines.push({ ...machine, id: 'fedcba9876543210' });
  two.jobs.push(job('abcdef2', { state: 'copy', machineId: 'fedcba9876543210' }));
  assert.equal(found(two, 'db'), undefined);
});

void test('name-holder: a free name, and no name, replace nobody', () => {
  assert.equal(holderToReplace(stored(), 'web', hardware, offline), undefined);
  assert.equal(holderToReplace(stored(), undefined, hardware, offline), undefined);
});

void test('name-holder: the order of the disks does not make another machine of it', () => {
  const [disk] = hardware.disks;
  assert.ok(disk);
  const two = [disk, { ...disk, name: 'sdb', serial: 'D2' }];
  const data = stored();
  const [holder] = data.machines;
  assert.ok(holder);
  holder.inventory = { ...hardware, disks: two };
  assert.equal(holderToReplace(data, 'db', { ...hardware, disks: two.toReversed() }, offline)?.id, HOLDER);
});
