import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { STATE_FILE, Store } from '../../../appliance/store/store.ts';
import { temporaryFolder } from '../../lab/orchestrator/folder.ts';

/** A job as the first version wrote it. */
const FIRST = {
  id: 'abcdef',
  order: { machine: 'm', name: 'copy-1' },
  machineId: '0123456789abcdef',
  hypervisor: 'local',
  pool: 'default',
  network: 'default',
  isolatedNetwork: 'rehost-isolated',
  state: 'done',
  createdAt: '2026-01-02T03:04:05.000Z',
  cancelRequested: false,
  phases: [],
  disks: [],
  nics: [],
  firmware: 'bios',
  cpus: 2,
  memoryBytes: 1024,
  acceleration: 'tcg',
  usedBytes: 7,
  wireBytes: null,
  readBytes: null,
  manifests: [
    { disk: 'sda', sha256: 'ab', pieces: 3, bytes: 9 },
    { disk: 'sdb', sha256: 'cd', pieces: 1, bytes: 4, holes: 'read' },
  ],
  replicaVerified: true,
  kept: [],
  cleanUpFailed: false,
  releasePending: false,
  steps: [],
  guest: null,
  proof: null,
  error: null,
  warnings: ['no swap'],
};

async function folderWith(t: Parameters<typeof temporaryFolder>[0], text: string): Promise<string> {
  const folder = join(await temporaryFolder(t), 'state');
  await mkdir(folder);
  await writeFile(join(folder, STATE_FILE), text);
  return folder;
}

const state = (jobs: unknown[]) =>
  JSON.stringify({ version: 1, machines: [], jobs, receivers: [], tokens: [], probes: [] });

void test('upgrade: a job of the first version is read with what it lacks filled in, and written back whole', async (t) => {
  const folder = await folderWith(t, state([FIRST]));
  const store = await Store.open(folder);
  const [job] = store.all();
  assert.ok(job);
  assert.deepEqual(
    [job.attempts, job.paused, job.pauseRequested, job.badRanges, job.lastCheck, job.fruitless, job.flushedBytes],
    [0, null, false, [], null, 0, 0],
  );
  assert.deepEqual([job.usedBytes, job.warnings, job.replicaVerified], [7, ['no swap'], true]);
  assert.deepEqual(job.manifests, [
    { disk: 'sda', sha256: 'ab', blocks: 3, bytes: 9, holes: 'sampled' },
    { disk: 'sdb', sha256: 'cd', blocks: 1, bytes: 4, holes: 'read' },
  ]);
  await store.save(job);
  await store.close();
  const again = await Store.open(folder);
  assert.deepEqual(again.all(), [job]);
  await again.close();
});

void test('upgrade: it mends nothing that is damaged', async (t) => {
  for (const text of [
    state([{ ...FIRST, cpus: 'two' }]),
    state(['no job']),
    state([{ ...FIRST, manifests: 'none' }]),
    state([{}]),
    '{"version":1,"jobs":{}}',
    '[]',
    'null',
  ]) {
    const folder = await folderWith(t, text);
    await assert.rejects(Store.open(folder), { code: 'STORE_DAMAGED' }, text);
    assert.equal(await readFile(join(folder, STATE_FILE), 'utf8'), text);
  }
});
