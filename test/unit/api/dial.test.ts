import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { type WebSocket, WebSocketServer } from 'ws';
import { dial, type Endpoint, stayConnected } from '../../../appliance/api/dial.ts';
import { ORCHESTRATOR_NAME } from '../../../appliance/api/transfer.ts';
import { makePki, type TestPki } from '../agent/certificates.ts';

const pki = makePki(ORCHESTRATOR_NAME);

interface Options {
  pki?: TestPki;
  maxVersion?: 'TLSv1.2' | 'TLSv1.3';
}

/** A WebSocket server behind TLS; `serve` gets each channel. */
async function orchestrator(
  t: TestContext,
  serve: (socket: WebSocket) => void,
  { pki: { serverPem, serverKey } = pki, maxVersion = 'TLSv1.3' }: Options = {},
): Promise<Endpoint> {
  const server = createServer({ cert: serverPem, key: serverKey, maxVersion });
  const sockets = new WebSocketServer({ server, path: '/control/agent' });
  sockets.on('connection', serve);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets.clients) socket.terminate();
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { host: '127.0.0.1', port, path: '/control/agent', caPem: pki.caPem };
}

void test('dial: reaches the orchestrator by its certificate, whatever its address', async (t) => {
  const endpoint = await orchestrator(t, (socket) => socket.send('hello'));
  const socket = await dial(endpoint);
  const [message] = await once(socket, 'message');
  assert.equal(String(message), 'hello');
  socket.close();
  await once(socket, 'close');
});

void test('dial: refuses another CA, another name and older TLS, before anything is sent', async (t) => {
  let served = 0;
  const count = (): void => {
    served++;
  };
  const stranger = await orchestrator(t, count, { pki: makePki(ORCHESTRATOR_NAME) });
  await assert.rejects(dial(stranger), { code: 'NOT_AUTHORISED', message: /is not the orchestrator/ });
  const otherName = makePki('other.rehost.internal');
  const named = await orchestrator(t, count, { pki: otherName });
  await assert.rejects(dial({ ...named, caPem: otherName.caPem }), {
    code: 'NOT_AUTHORISED',
    message: /rehost\.internal/,
  });
  const old = await orchestrator(t, count, { maxVersion: 'TLSv1.2' });
  await assert.rejects(dial(old), { code: 'TRANSFER_FAILED', message: /protocol version/ });
  assert.equal(served, 0);
});

void test('dial: nobody there, and somebody who speaks no WebSocket', async (t) => {
  const endpoint = await orchestrator(t, () => undefined);
  await assert.rejects(dial({ ...endpoint, port: 9 }), { code: 'TRANSFER_FAILED', message: /ECONNREFUSED/ });
  await assert.rejects(dial({ ...endpoint, path: '/elsewhere' }), { code: 'TRANSFER_FAILED', message: /400/ });
});

void test('dial: stays connected over cuts, refusals and absences until it is told to stop', async (t) => {
  let channels = 0;
  const endpoint = await orchestrator(t, (socket) => {
    channels++;
    if (channels < 3) socket.close();
  });
  const stop = new AbortController();
  const lost: string[] = [];
  let sessions = 0;
  let opened = 0;
  const third = Promise.withResolvers<void>();
  const ended = stayConnected({
    signal: stop.signal,
    open: () => {
      opened++;
      if (opened === 2) return Promise.reject(new Error('no road'));
      return dial(endpoint);
    },
    session: async (socket, established) => {
      sessions++;
      established();
      if (sessions === 3) third.resolve();
      await once(socket, 'close');
    },
    lost: (error, retryMs) => lost.push(`${(error as Error).message} ${retryMs}`),
  });
  await third.promise;
  stop.abort();
  await ended;
  assert.deepEqual(lost, [
    'The orchestrator closed the control channel. 1000',
    'no road 2000',
    'The orchestrator closed the control channel. 1000',
  ]);
  assert.equal(sessions, 3);
});
