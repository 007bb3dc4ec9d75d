import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { STATE_FILE, Store } from '../../../appliance/store/store.ts';
import { checkToken, createToken, revokeToken } from '../../../appliance/store/tokens.ts';
import { atEnd, temporaryFolder } from '../../lab/orchestrator/folder.ts';

void test('tokens: the secret is not in the store, and only it is accepted', async (t) => {
  const folder = await temporaryFolder(t);
  const store = await Store.open(folder);
  atEnd(t, () => store.close());
  const secret = await createToken(store, 'monitoring', 'viewer', null);
  assert.ok(!(await readFile(join(folder, STATE_FILE), 'utf8')).includes(secret));
  assert.deepEqual(checkToken(store, secret, Date.now()), { name: 'monitoring', role: 'viewer' });
  assert.throws(() => checkToken(store, `${secret}x`, Date.now()), { code: 'NOT_AUTHORISED' });
  assert.throws(() => checkToken(store, '', Date.now()), { code: 'NOT_AUTHORISED' });
});

void test('tokens: an expired or revoked one is refused, a name is given once', async (t) => {
  const store = await Store.open(await temporaryFolder(t));
  atEnd(t, () => store.close());
  const secret = await createToken(store, 'a', 'admin', '2030-01-01T00:00:00.000Z');
  const expiry = Date.parse('2030-01-01T00:00:00.000Z');
  assert.equal(checkToken(store, secret, expiry - 1).role, 'admin');
  assert.throws(() => checkToken(store, secret, expiry), { code: 'NOT_AUTHORISED' });
  await assert.rejects(createToken(store, 'a', 'viewer', null), { code: 'NAME_TAKEN' });
  await revokeToken(store, 'a');
  assert.throws(() => checkToken(store, secret, expiry - 1), { code: 'NOT_AUTHORISED' });
  await assert.rejects(revokeToken(store, 'a'), { code: 'NOT_FOUND' });
});
