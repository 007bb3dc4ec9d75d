import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SourceJobs } from '../../../agent/control/source-jobs.ts';
import type { ExportOptions, ExportSession, ExportStatus } from '../../../agent/export/serve.ts';
import type { Snapshot, SnapshotProvider } from '../../../agent/snapshot/provider.ts';
import type { ReadManners } from '../../../appliance/api/control.ts';
import { RehostError } from '../../../appliance/api/errors.ts';

const JOB = 'abc123';
const TOKEN = Buffer.alloc(32, 1);
const ORDER = { jobId: JOB, address: '192.0.2.1', port: 10809, token: TOKEN, connections: 2 };

/** A snapshot provider and an export in memory that remember what was asked of them. */
class World {
  taken = 0;
  released = 0;
  started: ExportOptions[] = [];
  running = new Set<ExportOptions>();
  refuse = false;
  tuned: ReadManners[] = [];

  readonly jobs = new SourceJobs({
    provider: () => Promise.resolve(this.#provider()),
    startExport: (order) => Promise.resolve(this.#start(order)),
  });

  #provider(): SnapshotProvider {
    return {
      name: 'memory',
      canSnapshot: () => Promise.resolve(undefined),
      create: async (disks) => {
        await new Promise(setImmediate);
        if (this.refuse) throw new RehostError('SNAPSHOT_REFUSED', 'Not now.');
        this.taken++;
        return this.#snapshot(disks);
      },
    };
  }

  #snapshot(disks: readonly string[]): Snapshot {
    return {
      provider: 'memory',
      timestamp: new Date().toISOString(),
      disks: disks.map((disk) => ({ disk, path: `/memory/${disk}`, sizeBytes: 4096, identity: '0'.repeat(64) })),
      open: () => {
        throw new Error('has no data');
      },
      release: () => {
        this.released++;
        return Promise.resolve();
      },
    };
  }

  #start(order: ExportOptions): ExportSession {
    this.started.push(order);
    this.running.add(order);
    const status = (): ExportStatus => ({
      running: this.running.has(order),
      connections: 2,
      wireBytes: 77,
      exports: [],
      error: null,
    });
    const stop = (): Promise<void> => {
      this.running.delete(order);
      return Promise.resolve();
    };
    return { status, stop, tune: (manners) => this.tuned.push(manners), mapped: Promise.resolve([]) };
  }
}

void test('source-jobs: the same job gets the same snapshot, also when it is asked twice at once', async () => {
  const world = new World();
  const [first, second] = await Promise.all([
    world.jobs.snapshot(JOB, ['sdb', 'sda']),
    world.jobs.snapshot(JOB, ['sda', 'sdb', 'sda']),
  ]);
  assert.equal(first, second);
  assert.equal(world.taken, 1);
  assert.deepEqual(
    first.disks.map(({ disk }) => disk),
    ['sda', 'sdb'],
  );
  await assert.rejects(world.jobs.snapshot(JOB, ['sda']), { code: 'REQUEST_INVALID', message: /sda sdb/ });
});

void test('source-jobs: a refused snapshot leaves nothing behind and may be asked for again', async () => {
  const world = new World();
  world.refuse = true;
  await assert.rejects(world.jobs.snapshot(JOB, ['sda']), { code: 'SNAPSHOT_REFUSED' });
  await assert.rejects(world.jobs.status(JOB), { code: 'JOB_UNKNOWN' });
  world.refuse = false;
  await world.jobs.snapshot(JOB, ['sda']);
  assert.equal(world.taken, 1);
});

void test('source-jobs: starting again attaches; another token, a short one and an unknown job are refused', async () => {
  const world = new World();
  await assert.rejects(world.jobs.startExport(ORDER), { code: 'JOB_UNKNOWN' });
  await world.jobs.snapshot(JOB, ['sda']);
  const started = await Promise.all([world.jobs.startExport(ORDER), world.jobs.startExport(ORDER)]);
  assert.equal(started.filter(Boolean).length, 1);
  assert.equal(await world.jobs.startExport(ORDER), false);
  assert.deepEqual(world.started[0]?.disks, [{ disk: 'sda', path: '/memory/sda', sizeBytes: 4096 }]);
  assert.equal(world.started.length, 1);
  const other = { ...ORDER, token: Buffer.alloc(32, 2) };
  await assert.rejects(world.jobs.startExport(other), { code: 'TOKEN_INVALID', message: /another token/ });
  const short = { ...ORDER, token: Buffer.alloc(16) };
  await assert.rejects(world.jobs.startExport(short), { code: 'TOKEN_INVALID', message: /16 bytes/ });
});

void test('source-jobs: the token of an export that was stopped is spent, for this job and any other', async () => {
  const world = new World();
  await world.jobs.snapshot(JOB, ['sda']);
  await world.jobs.startExport(ORDER);
  await world.jobs.stopExport(JOB);
  await world.jobs.stopExport(JOB);
  assert.equal(world.running.size, 0);
  await assert.rejects(world.jobs.startExport(ORDER), { code: 'TOKEN_SPENT' });
  await world.jobs.snapshot('other1', ['sdb']);
  await assert.rejects(world.jobs.startExport({ ...ORDER, jobId: 'other1' }), { code: 'TOKEN_SPENT' });
  const { running, wireBytes } = await world.jobs.status(JOB);
  assert.deepEqual({ running, wireBytes }, { running: false, wireBytes: 77 });
  assert.equal(await world.jobs.startExport({ ...ORDER, token: Buffer.alloc(32, 3) }), true);
});

void test('source-jobs: releasing ends the export and the snapshot, once', async () => {
  const world = new World();
  await assert.rejects(world.jobs.release(JOB), { code: 'JOB_UNKNOWN' });
  await assert.rejects(world.jobs.stopExport(JOB), { code: 'JOB_UNKNOWN' });
  await world.jobs.snapshot(JOB, ['sda']);
  await world.jobs.startExport(ORDER);
  await world.jobs.release(JOB);
  await world.jobs.release(JOB);
  await world.jobs.stopExport(JOB);
  assert.deepEqual([world.running.size, world.released, world.jobs.active.length], [0, 1, 0]);
  await assert.rejects(world.jobs.status(JOB), { code: 'JOB_UNKNOWN' });
  await world.jobs.snapshot(JOB, ['sda']);
  await world.jobs.release(JOB);
  assert.equal(world.released, 2);
});

void test('source-jobs: how the disks are read is told to the export that runs', async () => {
  const world = new World();
  await assert.rejects(world.jobs.tuneExport(JOB, { backOff: true }), { code: 'JOB_UNKNOWN' });
  await world.jobs.snapshot(JOB, ['sda']);
  await world.jobs.tuneExport(JOB, { backOff: true });
  assert.deepEqual(world.tuned, [], 'nothing is read yet');
  await world.jobs.startExport(ORDER);
  await world.jobs.tuneExport(JOB, { readPriority: 'idle' });
  assert.deepEqual(world.tuned, [{ readPriority: 'idle' }]);
});
