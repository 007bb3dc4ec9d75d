import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { cp, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect, createServer } from 'node:tls';
import { ORCHESTRATOR_NAME } from '../../../appliance/api/transfer.ts';
import { loadIdentity } from '../../../appliance/machine/ca.ts';
import { temporaryFolder } from '../../lab/orchestrator/folder.ts';

void test('ca: made once, kept over restarts, keys 0600, nothing else left', async (t) => {
  const state = await temporaryFolder(t);
  const first = await loadIdentity(state);
  const second = await loadIdentity(state);
  assert.equal(first.pin, second.pin);
  assert.equal(first.keyPem, second.keyPem);
  assert.deepEqual((await readdir(join(state, 'tls'))).sort(), ['ca.crt', 'ca.key', 'server.crt', 'server.key']);
  for (const name of await readdir(join(state, 'tls'))) {
    assert.equal((await stat(join(state, 'tls', name))).mode & 0o777, 0o600);
  }
  assert.equal(first.pin, createHash('sha256').update(new X509Certificate(first.caPem).raw).digest('hex'));
});

void test('ca: the server certificate is EC P-256, for the orchestrator only, and is no CA', async (t) => {
  const { chainPem, caPem } = await loadIdentity(await temporaryFolder(t));
  const server = new X509Certificate(chainPem);
  assert.equal(server.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
  assert.equal(server.subjectAltName, `DNS:${ORCHESTRATOR_NAME}`);
  assert.equal(server.ca, false);
  assert.equal(server.checkIssued(new X509Certificate(caPem)), true);
  // A source machine's clock may stand decades back.
  assert.ok(server.validFromDate.getTime() <= 0);
});

void test('ca: a TLS 1.3 client that pins the CA accepts the server, one that pins another does not', async (t) => {
  const identity = await loadIdentity(await temporaryFolder(t));
  const stranger = await loadIdentity(await temporaryFolder(t));
  const server = createServer({ cert: identity.chainPem, key: identity.keyPem, minVersion: 'TLSv1.3' }, (socket) =>
    socket.end(),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const dial = (ca: string) => connect({ host: '127.0.0.1', port, ca: [ca], servername: ORCHESTRATOR_NAME });

  const good = dial(identity.caPem);
  await once(good, 'secureConnect');
  assert.equal(good.authorized, true);
  assert.equal(good.getProtocol(), 'TLSv1.3');
  good.destroy();
  // Its CA has the same name, but not the same key.
  await assert.rejects(once(dial(stranger.caPem), 'secureConnect'), { code: /CERT|VERIFY|SIGNATURE/ });
});

void test('ca: half an identity of a start that was killed is removed, a complete one is made', async (t) => {
  const state = await temporaryFolder(t);
  await mkdir(join(state, 'tls.new-abcdef'));
  await writeFile(join(state, 'tls.new-abcdef', 'ca.key'), 'half');
  await loadIdentity(state);
  assert.deepEqual(await readdir(state), ['tls']);
});

void test('ca: files that do not belong together are STORE_DAMAGED and stay as they are', async (t) => {
  const [state, other] = [await temporaryFolder(t), await temporaryFolder(t)];
  await loadIdentity(state);
  await loadIdentity(other);
  const mixtures = [['ca.key'], ['server.crt'], ['server.key'], ['server.crt', 'server.key'], ['ca.crt', 'ca.key']];
  for (const names of mixtures) {
    const mixed = await temporaryFolder(t);
    await cp(join(state, 'tls'), join(mixed, 'tls'), { recursive: true });
    for (const name of names) await cp(join(other, 'tls', name), join(mixed, 'tls', name));
    await assert.rejects(loadIdentity(mixed), { code: 'STORE_DAMAGED' }, names.join(' '));
    for (const name of names) {
      assert.deepEqual(await readFile(join(mixed, 'tls', name)), await readFile(join(other, 'tls', name)));
    }
  }
});
