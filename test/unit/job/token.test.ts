import assert from 'node:assert/strict';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadKeys, transferToken } from '../../../appliance/job/token.ts';

test('token: 256 bits, the same after a restart, another for another job or attempt', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'rehost-token-'));
  t.after(() => rm(folder, { recursive: true }));
  const keys = await loadKeys(folder);
  assert.deepEqual(await loadKeys(folder), keys);
  assert.notDeepEqual(keys.transfer, keys.manifest);
  const first = keys.transfer;
  const second = (await loadKeys(folder)).transfer;
  assert.equal(transferToken(first, 'abcdef12', 1).length, 32);
  assert.deepEqual(transferToken(first, 'abcdef12', 1), transferToken(second, 'abcdef12', 1));
  assert.notDeepEqual(transferToken(first, 'abcdef12', 1), transferToken(first, 'abcdef12', 2));
  assert.notDeepEqual(transferToken(first, 'abcdef12', 1), transferToken(first, 'abcdef13', 1));
  for (const name of ['transfer.key', 'manifest.key'])
    assert.equal((await stat(join(folder, name))).mode & 0o777, 0o600, name);
});

test('token: a key file of the wrong length is refused, not replaced', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'rehost-token-'));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'transfer.key'), 'short');
  await assert.rejects(loadKeys(folder), /5 bytes instead of 32/);
});
