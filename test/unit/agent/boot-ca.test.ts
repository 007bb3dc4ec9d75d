import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { checkCa, fetchCa } from '../../../agent/boot-ca.ts';
import { makePki } from './certificates.ts';

const { caPem, serverPem } = makePki('orchestrator.rehost.internal');
const PIN = createHash('sha256').update(new X509Certificate(caPem).raw).digest('hex');

async function serve(t: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

void test('boot-ca: the pinned certificate is fetched from its place', async (t) => {
  const asked: (string | undefined)[] = [];
  const url = await serve(t, (request, response) => {
    asked.push(request.url);
    response.end(caPem);
  });
  const { pem, der } = await fetchCa(url, PIN);
  assert.deepEqual(asked, ['/boot/ca.pem']);
  assert.equal(createHash('sha256').update(der).digest('hex'), PIN);
  assert.equal(new X509Certificate(pem).subject, 'CN=test ca');
});

void test('boot-ca: another certificate is refused, and one that is appended is not trusted', () => {
  assert.throws(() => checkCa(serverPem, PIN), { code: 'NOT_AUTHORISED', message: /pinned/ });
  const { pem } = checkCa(caPem + serverPem, PIN);
  assert.equal(pem.match(/BEGIN CERTIFICATE/g)?.length, 1);
  assert.throws(() => checkCa('hello', PIN), { code: 'PROTOCOL_VIOLATION' });
});

void test('boot-ca: an error status, an endless answer and a dead server are clear errors', async (t) => {
  const missing = await serve(t, (_request, response) => response.writeHead(404).end());
  await assert.rejects(fetchCa(missing, PIN), { code: 'TRANSFER_FAILED', message: /404/ });
  const endless = await serve(t, (_request, response) => {
    const more = (): void => {
      while (!response.destroyed && response.write(Buffer.alloc(16384, 65)));
      if (!response.destroyed) response.once('drain', more);
    };
    more();
  });
  await assert.rejects(fetchCa(endless, PIN), { code: 'TRANSFER_FAILED', message: /larger than 65536/ });
  await assert.rejects(fetchCa('http://127.0.0.1:9', PIN), { code: 'TRANSFER_FAILED', message: /ECONNREFUSED/ });
});
