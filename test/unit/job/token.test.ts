import assert from 'node:assert/strict';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadTransferKey, transferToken } from '../../../appliance/job/token.ts';

test('token: 256 bits, the same after a restart, another for another job', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'rehost-token-'));
  t.after(() => rm(folder, { recursive: true }));
  const first = await loadTransferKey(folder);
  const second = await loadTransferKey(folder);
  assert.deepEqual(second, first);
  assert.equal(transferToken(first, 'abcdef12').length, 32);
  assert.deepEqual(transferToken(first, 'abcdef12'), transferToken(second, 'abcdef12'));
  assert.notDeepEqual(transferToken(first, 'abcdef12'), transferToken(first, 'abcdef13'));
  assert.equal((await stat(join(folder, 'transfer.key'))).mode & 0o777, 0o600);
});

test('token: a key file of the wrong length is refused, not replaced', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'rehost-token-'));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'transfer.key'), 'short');
  await assert.rejects(loadTransferKey(folder), /5 bytes instead of 32/);
});
