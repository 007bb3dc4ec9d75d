import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Store } from '../../../appliance/store/store.ts';
import { temporaryFolder } from '../../lab/orchestrator/folder.ts';

const ROUNDS = 12;

/** Runs the updating process for a moment, kills it in the middle, and answers the last update that it knew to be durable. */
async function updateAndKill(folder: string, afterMs: number): Promise<number> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'updating-process.ts')], {
    env: { ...process.env, FOLDER: folder },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const exited = once(child, 'exit');
  await once(child.stdout, 'data');
  await sleep(afterMs);
  child.kill('SIGKILL');
  assert.deepEqual(await exited, [null, 'SIGKILL']);
  return Number(said.trimEnd().split('\n').at(-1));
}

void test('store: SIGKILL among many updates leaves a complete state, with every update that was reported', async (t) => {
  const folder = await temporaryFolder(t);
  let total = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const reported = await updateAndKill(folder, 20 + 17 * round);
    total += reported;
    // Opening also takes over the lock that the killed process left.
    const store = await Store.open(folder);
    const [first, second] = store.all();
    await store.close();
    assert.ok(first && second);
    assert.equal(first.readBytes, second.readBytes, 'both halves are of one update');
    const found = first.readBytes ?? 0;
    assert.ok(found === reported || found === reported + 1, `update ${found} on disk, ${reported} reported`);
  }
  t.diagnostic(`${total} updates in ${ROUNDS} rounds`);
});
