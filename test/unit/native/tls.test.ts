/** TLS-PSK: both ends in one thread, a step at a time; and against a server with a certificate in place of the key. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createServer } from 'node:tls';
import { Memory } from '../../../native/memory.ts';
import { closeSocket, connect } from '../../../native/socket.ts';
import { Patience } from '../../../native/stream.ts';
import { type PskCredentials, TlsContext, type TlsSession, TlsStream } from '../../../native/tls.ts';
import { socketPair } from './sockets.ts';

const folder = mkdtempSync(join(tmpdir(), 'rehost-tls-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const good: PskCredentials = { identity: 'rehost-job1', key: Buffer.alloc(32, 1) };
const patience = new Patience(5_000, () => {});

interface Both {
  client: TlsStream;
  server: TlsStream;
  end(): void;
}

/** Runs a handshake on a pair of sockets. */
function shake(clientKey: PskCredentials, serverKey: PskCredentials): Both {
  const contexts = [new TlsContext('client', clientKey), new TlsContext('server', serverKey)] as const;
  const fds = socketPair();
  const sessions = [contexts[0].session(fds[0]), contexts[1].session(fds[1])] as const;
  try {
    let done = false;
    for (let i = 0; i < 20 && !done; i++) {
      done = sessions.map((session) => session.step()).every((step) => step === 'done');
    }
    assert.ok(done, 'the handshake ends');
  } catch (error) {
    for (const session of sessions) session.free();
    for (const fd of fds) closeSocket(fd);
    for (const context of contexts) context.free();
    throw error;
  }
  const client = new TlsStream(fds[0], sessions[0].take(), patience);
  const server = new TlsStream(fds[1], sessions[1].take(), patience);
  // Sessions outlive their contexts: that is how one thread shakes hands and another goes on.
  for (const context of contexts) context.free();
  return {
    client,
    server,
    end: () => {
      client.close();
      server.close();
    },
  };
}

describe('TLS with a pre-shared key', () => {
  const memory = new Memory(1024 * 1024);

  it('carries bytes by address, gathered until a flush', () => {
    const both = shake(good, good);
    memory.bytes.fill(0xa5, 0, 100_000);
    both.server.write(memory.address, 100_000);
    const before = both.server.wireOut;
    both.server.flush();
    assert.ok(both.server.wireOut > before, 'something was held back for the flush');
    both.client.readExact(memory.address + 200_000, 100_000);
    assert.ok(memory.bytes.subarray(200_000, 300_000).every((byte) => byte === 0xa5));
    assert.equal(both.server.wireOut, both.client.wireIn);
    assert.ok(both.client.wireIn > 100_000 && both.client.wireIn < 102_000, 'encrypted, at a small cost');
    both.server.close();
    assert.throws(() => both.client.readExact(memory.address, 1), { fault: 'closed' });
    both.end();
  });

  it('ends without a peer that has another key', () => {
    assert.throws(() => shake({ ...good, key: Buffer.alloc(32, 2) }, good), { name: 'StreamError', fault: 'tls' });
  });

  it('ends without a peer that has another identity', () => {
    assert.throws(() => shake({ ...good, identity: 'rehost-job2' }, good), { name: 'StreamError', fault: 'tls' });
  });

  it('does not take short keys', () => {
    assert.throws(() => new TlsContext('client', { identity: 'x', key: Buffer.alloc(8) }), RangeError);
  });

  it('refuses a server that shows a certificate in place of the key', async () => {
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
    const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
    execFileSync('openssl', [...request, '-subj', '/CN=localhost', '-keyout', key, '-out', cert], { stdio: 'ignore' });
    const server = createServer({ key: readFileSync(key), cert: readFileSync(cert), minVersion: 'TLSv1.3' });
    server.on('tlsClientError', () => {});
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const context = new TlsContext('client', good);
    const fd = connect('127.0.0.1', (server.address() as AddressInfo).port, 5_000, () => {});
    const session = context.session(fd);
    try {
      const refusal = { name: 'StreamError', fault: 'tls', message: /certificate verify failed/ };
      await assert.rejects(() => untilDone(session), refusal);
    } finally {
      session.free();
      closeSocket(fd);
      context.free();
      server.close();
    }
  });

  it('stops reading a handshake that never ends', async () => {
    const context = new TlsContext('client', good);
    const [a, b] = socketPair();
    const session = context.session(a);
    assert.equal(session.step(), 'wants-read');
    // Change-cipher-spec records are ignored in TLS 1.3: an endless stream of them keeps a naive peer busy.
    const record = Buffer.from('140303000101', 'hex');
    const flood = Buffer.alloc(60_000, record);
    memory.bytes.set(flood);
    const { PlainStream } = await import('../../../native/socket.ts');
    const stream = new PlainStream(b, patience);
    assert.throws(
      () => {
        for (let i = 0; i < 10; i++) {
          stream.write(memory.address, flood.length);
          session.step();
        }
      },
      { name: 'StreamError', fault: 'tls' },
    );
    session.free();
    closeSocket(a);
    stream.close();
    context.free();
  });
});

async function untilDone(session: TlsSession): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (session.step() === 'done') return;
    await sleep(10);
  }
  throw new Error('The handshake did not end.');
}
