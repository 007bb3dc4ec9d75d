import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { lockStore } from '../../../appliance/store/lock.ts';
import { temporaryFolder } from '../../lab/orchestrator/folder.ts';

const MODULE = join(import.meta.dirname, '../../../appliance/store/lock.ts');

void test('lock: a folder that is used is refused with the pid of its user; given back, it is free', async (t) => {
  const folder = await temporaryFolder(t);
  const lock = await lockStore(folder);
  await assert.rejects(lockStore(folder), { code: 'STORE_LOCKED', message: new RegExp(`process ${process.pid}`) });
  await lock.release();
  await (await lockStore(folder)).release();
  assert.equal((await stat(join(folder, 'lock'))).mode & 0o777, 0o600);
});

void test('lock: another process holds it until it is killed, then it is free', async (t) => {
  const folder = await temporaryFolder(t);
  const script = `const { lockStore } = await import(process.env.MODULE);
    await lockStore(process.env.FOLDER); console.log('locked'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    env: { ...process.env, MODULE, FOLDER: folder },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  await assert.rejects(lockStore(folder), { code: 'STORE_LOCKED', message: new RegExp(`process ${child.pid}`) });
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
  const lock = await lockStore(folder);
  assert.equal(await readFile(join(folder, 'lock'), 'utf8'), `${process.pid}\n`);
  await lock.release();
});

void test('lock: what a lock file says holds nothing: a living pid, garbage', async (t) => {
  const folder = await temporaryFolder(t);
  for (const content of [`${process.pid}\n`, '../../etc/passwd']) {
    await writeFile(join(folder, 'lock'), content);
    await (await lockStore(folder)).release();
  }
});

void test('lock: a process that was started meanwhile does not keep it', async (t) => {
  const folder = await temporaryFolder(t);
  const lock = await lockStore(folder);
  const child = spawn('sleep', ['60'], { stdio: 'inherit' });
  t.after(() => child.kill('SIGKILL'));
  await once(child, 'spawn');
  await lock.release();
  await (await lockStore(folder)).release();
});

void test('lock: of many who take over at once, one gets it', async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, 'lock'), '999999999\n');
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => lockStore(folder)));
  const refused = results.filter((result) => result.status === 'rejected');
  assert.equal(refused.length, 7);
  for (const { reason } of refused) assert.equal(reason.code, 'STORE_LOCKED');
  for (const result of results) if (result.status === 'fulfilled') await result.value.release();
});
