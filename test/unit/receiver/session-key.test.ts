import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SessionKey } from '../../../receiver/session-key.ts';

void test('session-key: shows the secret first, then the key, also after the process was started again', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'rehost-state-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const dir = join(folder, 'state');
  const key = new SessionKey(dir, 'c2VjcmV0');
  assert.equal(key.shown, 'c2VjcmV0');
  assert.equal(new SessionKey(dir, 'c2VjcmV0').shown, 'c2VjcmV0');
  key.keep('a2V5');
  assert.equal(key.shown, 'a2V5');
  assert.equal(new SessionKey(dir, 'c2VjcmV0').shown, 'a2V5');
  assert.equal(statSync(join(dir, 'session')).mode & 0o777, 0o600);
});
