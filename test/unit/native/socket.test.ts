import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Memory } from '../../../native/memory.ts';
import { closeSocket, connect, hasPending, listen, PlainStream } from '../../../native/socket.ts';
import { Patience } from '../../../native/stream.ts';
import { socketPair } from './sockets.ts';

const patient = new Patience(5_000, () => {});

describe('sockets', () => {
  const memory = new Memory(64 * 1024);

  for (const host of ['127.0.0.1', '::1']) {
    it(`carry bytes both ways over ${host}`, () => {
      const [a, b] = socketPair(host).map((fd) => new PlainStream(fd, patient)) as [PlainStream, PlainStream];
      memory.bytes.set(Buffer.from('hello over there'));
      a.write(memory.address, 16);
      assert.equal(hasPending(b.fd, memory.address + 4096), true);
      b.readExact(memory.address + 8192, 16);
      assert.equal(Buffer.from(memory.bytes.subarray(8192, 8208)).toString(), 'hello over there');
      assert.equal(hasPending(b.fd, memory.address + 4096), false);
      assert.deepEqual([a.wireOut, b.wireIn], [16, 16]);
      a.close();
      a.close();
      assert.throws(() => b.readExact(memory.address, 1), { name: 'StreamError', fault: 'closed' });
      b.close();
    });
  }

  it('end a wait in which nothing comes, and ask between whether to go on', () => {
    const [a, b] = socketPair();
    let asked = 0;
    const stream = new PlainStream(b, new Patience(500, () => asked++));
    assert.throws(() => stream.readExact(memory.address, 1), { name: 'StreamError', fault: 'timeout' });
    assert.ok(asked >= 2);
    const impatient = new PlainStream(
      a,
      new Patience(60_000, () => {
        throw new Error('told to stop');
      }),
    );
    assert.throws(() => impatient.readExact(memory.address, 1), /told to stop/);
    stream.close();
    impatient.close();
  });

  it('say why a connection does not come about', () => {
    const bound = listen('127.0.0.1', 0);
    closeSocket(bound.fd);
    assert.throws(() => connect('127.0.0.1', bound.port, 1_000, () => {}), {
      code: 'ECONNREFUSED',
      path: /127\.0\.0\.1 port/,
    });
    assert.throws(() => connect('example.invalid', 1, 1_000, () => {}), { code: 'EINVAL' });
    assert.throws(() => listen('127.0.0.1', 0) && listen('203.0.113.7', 0), { code: 'EADDRNOTAVAIL' });
  });
});
