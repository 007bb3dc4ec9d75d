import assert from 'node:assert/strict';
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { STATE_FILE, Store } from '../../../appliance/store/store.ts';
import { atEnd, temporaryFolder } from '../../lab/orchestrator/folder.ts';
import { job } from '../../lab/orchestrator/job.ts';

void test('store: what an update wrote is there after opening again', async (t) => {
  const folder = await temporaryFolder(t);
  const first = await Store.open(folder);
  await first.save(job('aaaaaa'));
  await first.save(job('bbbbbb'));
  await first.save(job('aaaaaa', { state: 'failed' }));
  await first.close();
  const second = await Store.open(folder);
  atEnd(t, () => second.close());
  assert.deepEqual(
    second.all().map(({ id, state }) => [id, state]),
    [
      ['aaaaaa', 'failed'],
      ['bbbbbb', 'done'],
    ],
  );
});

void test('store: file 0600, folder 0700', async (t) => {
  const folder = join(await temporaryFolder(t), 'state');
  await mkdir(folder, { mode: 0o755 });
  const store = await Store.open(folder);
  atEnd(t, () => store.close());
  await store.save(job('aaaaaa'));
  assert.equal((await stat(folder)).mode & 0o777, 0o700);
  assert.equal((await stat(join(folder, STATE_FILE))).mode & 0o777, 0o600);
});

void test('store: updates at the same time all count, one after the other', async (t) => {
  const store = await Store.open(await temporaryFolder(t));
  atEnd(t, () => store.close());
  const ids = Array.from({ length: 40 }, (_, at) => `job${String(at).padStart(4, '0')}`);
  await Promise.all(ids.map((id) => store.save(job(id))));
  assert.deepEqual(
    store.all().map(({ id }) => id),
    ids,
  );
});

void test('store: an update that throws changes nothing, on disk neither', async (t) => {
  const folder = await temporaryFolder(t);
  const store = await Store.open(folder);
  atEnd(t, () => store.close());
  await store.save(job('aaaaaa'));
  const before = await readFile(join(folder, STATE_FILE));
  const broken = store.update((draft) => {
    draft.jobs.length = 0;
    throw new Error('in the middle');
  });
  await assert.rejects(broken, /in the middle/);
  assert.equal(store.all().length, 1);
  assert.deepEqual(await readFile(join(folder, STATE_FILE)), before);
  await store.save(job('bbbbbb'));
  assert.equal(store.all().length, 2);
});

void test('store: a change that breaks the schema is refused before it is written', async (t) => {
  const store = await Store.open(await temporaryFolder(t));
  atEnd(t, () => store.close());
  await assert.rejects(store.save({ ...job('aaaaaa'), id: '../../etc' }), { code: 'INTERNAL' });
  assert.equal(store.all().length, 0);
});

void test('store: a write that fails leaves readers with what is on disk', async (t) => {
  const folder = await temporaryFolder(t);
  const store = await Store.open(folder);
  atEnd(t, () => store.close());
  await store.save(job('aaaaaa'));
  // A folder stands where the temporary file is to be written.
  const obstacle = join(folder, `${STATE_FILE}.new`);
  await mkdir(obstacle);
  await assert.rejects(store.save(job('bbbbbb')), { code: 'EISDIR' });
  assert.deepEqual(
    store.all().map(({ id }) => id),
    ['aaaaaa'],
  );
  await rm(obstacle, { recursive: true });
  await store.save(job('cccccc'));
  assert.equal(store.all().length, 2);
});

void test('store: readers never see a change that is not on disk yet', async (t) => {
  const folder = await temporaryFolder(t);
  const store = await Store.open(folder);
  atEnd(t, () => store.close());
  const saving = store.save(job('aaaaaa'));
  await Promise.resolve();
  assert.equal(store.data.jobs.length, 0);
  await saving;
  assert.match(await readFile(join(folder, STATE_FILE), 'utf8'), /"aaaaaa"/);
});

for (const [what, content] of [
  ['half a file', '{"version":1,"machines":['],
  ['an empty file', ''],
  ['another version', '{"version":2,"machines":[],"jobs":[],"receivers":[],"tokens":[],"probes":[]}'],
  ['a record that does not fit', '{"version":1,"machines":[],"jobs":[{}],"receivers":[],"tokens":[],"probes":[]}'],
] as const) {
  void test(`store: ${what} is STORE_DAMAGED and kept as it is`, async (t) => {
    const folder = await temporaryFolder(t);
    await writeFile(join(folder, STATE_FILE), content);
    await assert.rejects(Store.open(folder), { code: 'STORE_DAMAGED' });
    assert.equal(await readFile(join(folder, STATE_FILE), 'utf8'), content);
    // The refusal gave the lock back: repaired, the folder opens.
    await rm(join(folder, STATE_FILE));
    await (await Store.open(folder)).close();
  });
}

void test('store: nothing is written after it was closed', async (t) => {
  const store = await Store.open(await temporaryFolder(t));
  await store.close();
  await assert.rejects(store.save(job('aaaaaa')), { code: 'INTERNAL' });
});

void test('store: a folder that cannot be had is a matter of configuration, not a fault of ours', async (t) => {
  const folder = await temporaryFolder(t);
  const file = join(folder, 'file');
  await writeFile(file, '');
  await assert.rejects(Store.open(join(file, 'state')), { code: 'CONFIG_INVALID', next: /--state/ });
});
