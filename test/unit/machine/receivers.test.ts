import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { test } from 'node:test';
import { RECEIVER_PATH } from '../../../appliance/api/control.ts';
import { makeApp, makeLog } from '../../../appliance/http.ts';
import { listenTcp } from '../../../appliance/listen.ts';
import { loadIdentity } from '../../../appliance/machine/ca.ts';
import { Receivers } from '../../../appliance/machine/receivers.ts';
import { STATE_FILE, Store } from '../../../appliance/store/store.ts';
import { atEnd, temporaryFolder } from '../../lab/orchestrator/folder.ts';
import { enrolReceiver, openReceiver } from '../../lab/orchestrator/receiver.ts';

const JOB = 'abcdef12';

/** Receivers on a real store, reachable over TLS. */
async function receivers(t: TestContext, folder: string) {
  const store = await Store.open(folder);
  const { caPem, chainPem, keyPem } = await loadIdentity(folder);
  const log = makeLog(process.stderr);
  log.level = 'silent';
  const registry = new Receivers(store, log);
  const app = await makeApp({ log, tls: { cert: chainPem, key: keyPem } });
  app.get(RECEIVER_PATH, { websocket: true }, (socket, request) => registry.accept(socket, request.ip, () => {}));
  await app.ready();
  const port = await listenTcp(app.server, '127.0.0.1', 0);
  let open = true;
  const close = async (): Promise<void> => {
    if (!open) return;
    open = false;
    await app.close();
    await store.close();
  };
  atEnd(t, close);
  return { registry, close, dial: () => openReceiver(port, caPem) };
}

void test('receivers: the secret works once; the session key brings it back and replaces the channel', async (t) => {
  const folder = await temporaryFolder(t);
  const { registry, dial } = await receivers(t, folder);
  const secret = (await registry.expect(JOB)).toString('base64');
  assert.equal(registry.enrolled(JOB), false);
  const waiting = registry.waitFor(JOB, 30_000);
  const first = await dial();
  const session = await enrolReceiver(first, JOB, secret);
  assert.notEqual(session, secret);
  const peer = await waiting;
  assert.equal(registry.enrolled(JOB), true);
  assert.equal((await peer.request('copy.status', { jobId: JOB })).progress, 'idle');

  const thief = await dial();
  await assert.rejects(enrolReceiver(thief, JOB, secret), { code: 'TOKEN_SPENT' });
  assert.equal(registry.get(JOB), peer);

  const second = await dial();
  assert.equal(await enrolReceiver(second, JOB, session), session);
  await first.closed;
  assert.notEqual(registry.get(JOB), peer);
  assert.equal(registry.get(JOB)?.open, true);
});

void test('receivers: of two first uses at once, one wins', async (t) => {
  const { registry, dial } = await receivers(t, await temporaryFolder(t));
  const secret = (await registry.expect(JOB)).toString('base64');
  const channels = await Promise.all([dial(), dial(), dial()]);
  const results = await Promise.allSettled(channels.map((channel) => enrolReceiver(channel, JOB, secret)));
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
  for (const result of results) if (result.status === 'rejected') assert.equal(result.reason.code, 'TOKEN_SPENT');
});

void test('receivers: a wrong secret, an unknown job and a second word on one channel are refused', async (t) => {
  const { registry, dial } = await receivers(t, await temporaryFolder(t));
  const secret = (await registry.expect(JOB)).toString('base64');
  const channel = await dial();
  await assert.rejects(enrolReceiver(channel, JOB, Buffer.alloc(32).toString('base64')), { code: 'TOKEN_INVALID' });
  await assert.rejects(enrolReceiver(channel, JOB, secret), { code: 'PROTOCOL_VIOLATION' });
  await assert.rejects(enrolReceiver(await dial(), 'otherjob', secret), { code: 'TOKEN_INVALID' });
  await assert.rejects(enrolReceiver(await dial(), '../../etc', secret), { code: 'REQUEST_INVALID' });
  const agent = (await dial()).request('agent.hello', { version: 1, publicKey: '', boot: 'usb' });
  await assert.rejects(agent, { code: 'REQUEST_INVALID' });
  assert.equal(registry.enrolled(JOB), false);
  // None of it spent the secret.
  await enrolReceiver(await dial(), JOB, secret);
});

void test('receivers: the session outlives the orchestrator, and only hashes are stored', async (t) => {
  const folder = await temporaryFolder(t);
  const first = await receivers(t, folder);
  const secret = (await first.registry.expect(JOB)).toString('base64');
  const session = await enrolReceiver(await first.dial(), JOB, secret);
  await first.close();
  const stored = await readFile(join(folder, STATE_FILE), 'utf8');
  for (const text of [secret, session]) {
    assert.ok(!stored.includes(text));
    assert.ok(!stored.includes(Buffer.from(text, 'base64').toString('hex')));
  }
  const second = await receivers(t, folder);
  assert.equal(second.registry.enrolled(JOB), true);
  assert.equal(second.registry.get(JOB), undefined);
  await assert.rejects(enrolReceiver(await second.dial(), JOB, secret), { code: 'TOKEN_SPENT' });
  await enrolReceiver(await second.dial(), JOB, session);
  assert.equal(second.registry.get(JOB)?.open, true);
});

void test('receivers: a new secret voids the old one and its session; forgetting voids everything', async (t) => {
  const { registry, dial } = await receivers(t, await temporaryFolder(t));
  const old = (await registry.expect(JOB)).toString('base64');
  const channel = await dial();
  const session = await enrolReceiver(channel, JOB, old);
  const fresh = (await registry.expect(JOB)).toString('base64');
  await channel.closed;
  assert.equal(registry.enrolled(JOB), false);
  for (const void_ of [old, session]) {
    await assert.rejects(enrolReceiver(await dial(), JOB, void_), { code: 'TOKEN_INVALID' });
  }
  const present = await dial();
  await enrolReceiver(present, JOB, fresh);
  await registry.forget(JOB);
  await present.closed;
  assert.equal(registry.get(JOB), undefined);
  await assert.rejects(enrolReceiver(await dial(), JOB, fresh), { code: 'TOKEN_INVALID' });
  await registry.forget(JOB);
});

void test('receivers: nobody dials in: TRANSFER_VM_SILENT', async (t) => {
  const { registry } = await receivers(t, await temporaryFolder(t));
  await assert.rejects(registry.waitFor(JOB, 10), { code: 'TRANSFER_VM_SILENT' });
});
