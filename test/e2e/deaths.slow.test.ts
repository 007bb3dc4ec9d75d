/**
 * One job on real parts in which everything dies once in every phase: QEMU of the transfer VM, libvirt's daemon, the orchestrator. It ends
 * with a target that has proved itself, after one copy; its replica is then checked against the manifest, as it is and with a bit turned.
 */
import assert from 'node:assert/strict';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JobState } from '../../appliance/api/job.ts';
import type { JobView } from '../../appliance/api/rest.ts';
import { transferVmName } from '../../appliance/job/names.ts';
import { type CancelScene, openCancelScene } from './cancel.ts';

const LIMIT_MS = 30 * 60_000;
/** Slow enough that a flush comes in the middle of the copy. */
const RATE = '10M';

let scene: CancelScene;
before(async () => {
  scene = await openCancelScene();
});
after(() => scene?.close());

test('clone: a job goes on whatever dies, copies nothing twice, and its replica can be checked', {
  timeout: 2 * LIMIT_MS,
}, async (t) => {
  const { appliance, libvirtd, machine } = scene;
  const order = await appliance.rehost<JobView>(
    ...['clone', machine.id, '--name', 'survivor', '--memory', '1G', '--cpus', '2', '--rate', RATE],
  );
  const { id } = order.job;
  const wait = async (what: string, holds: (view: JobView) => boolean): Promise<JobView> => {
    for (const deadline = Date.now() + LIMIT_MS; ; await sleep(200)) {
      const view = await appliance.job(id);
      if (holds(view)) return view;
      const { job } = view;
      if (['failed', 'cancelled'].includes(job.state) || Date.now() > deadline) {
        const log = await appliance.rehostText('log', id);
        throw new Error(`${what}: the job is ${job.state}: ${job.error?.message ?? ''}\n${log.stdout.slice(-6000)}`);
      }
    }
  };
  const inState = (state: JobState) => wait(state, ({ job }) => job.state === state);
  const flushed = ({ progress }: JobView): number => progress?.disks[0]?.flushedBytes ?? 0;
  const killQemu = async (): Promise<void> => {
    await libvirtd.enter(['sh', '-c', `kill -KILL "$(cat /run/libvirt/qemu/${transferVmName(id)}.pid)"`]);
  };
  const killOrchestrator = async (): Promise<void> => {
    await appliance.kill();
    await appliance.start();
  };

  await inState('start-transfer');
  await libvirtd.killDaemon();
  const first = await wait('the first flush', (view) => view.job.state === 'copy' && flushed(view) > 0);
  await killQemu();
  const second = await wait('the second attempt', (view) => view.job.attempts === 2 && flushed(view) > flushed(first));
  assert.ok((second.progress?.disks[0]?.resumedBytes ?? 0) >= flushed(first));
  await libvirtd.killDaemon();
  await killOrchestrator();
  await wait('more after that', (view) => flushed(view) > flushed(second));
  await appliance.rehost('limit', id, '--rate', 'none');

  await inState('verify');
  await killQemu();
  await wait('the journal is believed', ({ job }) => job.state === 'verify' && job.attempts === 3);
  await killOrchestrator();

  await inState('convert');
  await killQemu();
  await wait('back to a new transfer VM', ({ job }) => job.state === 'provision');
  await inState('convert');
  await libvirtd.killDaemon();
  await killOrchestrator();

  await inState('prove');
  await libvirtd.killDaemon();
  await killOrchestrator();
  const { job } = await wait('its end', (view) => view.job.state === 'done');
  t.diagnostic(job.phases.map(({ state, detail }) => `${state}: ${detail}`).join('\n'));
  assert.equal(job.attempts, 3);

  const replica = join(libvirtd.poolFolder, job.disks[0]?.replica ?? '');
  const console = await readFile(join(appliance.state, 'jobs', id, 'transfer.console'), 'latin1');
  const memory = [...console.matchAll(/memory: (\d+) of \d+ MiB available.*/g)];
  t.diagnostic(memory.map(([line]) => line.trim()).join('\n'));
  assert.ok(
    memory.length > 0 && memory.every(([, left]) => Number(left) >= 64),
    'the transfer VM has little memory left',
  );

  const good = await appliance.rehostText('verify', id);
  assert.equal(good.code, 0, good.stdout + good.stderr);
  const file = await open(replica, 'r+');
  try {
    // In the partition table: what is in use for certain.
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, 446);
    await file.write(Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, 446);
  } finally {
    await file.close();
  }
  const bad = await appliance.rehostText('verify', id);
  assert.equal(bad.code, 1);
  assert.match(bad.stdout, /VERIFY_MISMATCH/);
  assert.equal((await appliance.job(id)).job.lastCheck?.ok, false);
});
