import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { loadIdentity } from '../../../agent/identity.ts';
import { AGENT_PROOF_CONTEXT } from '../../../appliance/api/control.ts';

function stateDir(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'rehost-state-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return join(folder, 'state');
}

void test('identity: proves a nonce in its own context', (t) => {
  const identity = loadIdentity(stateDir(t));
  const { publicKeyDer } = identity;
  const nonce = Buffer.alloc(32, 5);
  const key = createPublicKey({ key: publicKeyDer, type: 'spki', format: 'der' });
  assert.equal(key.asymmetricKeyType, 'ed25519');
  assert.ok(verify(null, Buffer.concat([Buffer.from(AGENT_PROOF_CONTEXT), nonce]), key, identity.prove(nonce)));
  assert.ok(!verify(null, nonce, key, identity.prove(nonce)));
});

void test('identity: a process started again has the same key, another state folder another', (t) => {
  const dir = stateDir(t);
  const first = loadIdentity(dir);
  assert.equal(statSync(join(dir, 'agent.key')).mode & 0o777, 0o600);
  assert.deepEqual(loadIdentity(dir).publicKeyDer, first.publicKeyDer);
  assert.notDeepEqual(loadIdentity(stateDir(t)).publicKeyDer, first.publicKeyDer);
});

void test('identity: a damaged key is an error, not a new identity', (t) => {
  const dir = stateDir(t);
  loadIdentity(dir);
  writeFileSync(join(dir, 'agent.key'), 'not a key');
  assert.throws(() => loadIdentity(dir));
});
