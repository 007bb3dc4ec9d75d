/** The receiver against servers that were not written here. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createServer } from 'node:net';
import { after, describe, it } from 'node:test';
import { dataPsk } from '../../../appliance/api/psk.ts';
import type { PskCredentials } from '../../../native/tls.ts';
import { type CopyStatus, startPull } from '../../../receiver/copy/copy.ts';
import { startVerify } from '../../../receiver/copy/verify.ts';
import { freePort, JOB, Lab, listening, MIB, same, TOKEN } from './transfer-lab.ts';

const lab = new Lab();
after(() => lab.clean());
const psk = dataPsk(TOKEN, JOB, ['sda']);
const keys = lab.keyFile(psk);
/** No multiple of a piece or of 4 KiB. */
const SIZE = 40 * MIB + 512;

/** Random bytes with a large hole and some small ones. */
const source = lab.random(SIZE);
execFileSync('fallocate', ['--punch-hole', '--offset', String(10 * MIB + 4096), '--length', String(9 * MIB), source]);
execFileSync('fallocate', ['--punch-hole', '--offset', String(30 * MIB), '--length', '8192', source]);
execFileSync('fallocate', ['--punch-hole', '--offset', String(31 * MIB + 65536), '--length', '131072', source]);

async function nbdkit(args: string[]): Promise<number> {
  const port = await freePort();
  lab.start('nbdkit', ['-f', '--exit-with-parent', '-p', String(port), '-i', '127.0.0.1', ...args]);
  await listening(port);
  return port;
}

async function qemuNbd(args: string[]): Promise<number> {
  const port = await freePort();
  lab.start('qemu-nbd', ['-t', '-e', '8', '-b', '127.0.0.1', '-p', String(port), '-r', '-f', 'raw', ...args]);
  await listening(port);
  return port;
}

/** Copies to a loop device full of garbage, verifies, and returns the status and where the copy is. */
async function pull(
  port: number,
  disk: string,
  security: PskCredentials | 'none',
  connections = 2,
): Promise<{ status: CopyStatus; replica: string; verified: string }> {
  const replica = lab.garbage(SIZE);
  const device = lab.loop(replica);
  const session = startPull({
    server: { host: '127.0.0.1', port },
    security,
    connections,
    disks: [{ disk, sizeBytes: SIZE, target: { kind: 'device', path: device.path } }],
    bounds: { meeting: 20_000, copying: 20_000 },
  });
  await session.finished;
  const status = session.status();
  let verified = '';
  if (status.progress === 'done') {
    const verify = startVerify(session.copied());
    await verify.finished;
    verified = verify.status().progress;
    assert.equal(verify.status().checkedBytes, verify.status().totalBytes);
  }
  device.detach();
  return { status, replica, verified };
}

describe('the receiver reads', () => {
  const tlsNbdkit = ['--tls=require', `--tls-psk=${keys}/keys.psk`];
  const tlsQemu = ['--object', `tls-creds-psk,id=tls0,endpoint=server,dir=${keys}`, '--tls-creds', 'tls0'];
  const servers: [string, () => Promise<number>, string, PskCredentials | 'none'][] = [
    ['nbdkit over TLS-PSK', () => nbdkit([...tlsNbdkit, 'file', source]), 'sda', psk],
    ['nbdkit unencrypted', () => nbdkit(['file', source]), '', 'none'],
    ['nbdkit without structured replies', () => nbdkit(['--no-sr', 'file', source]), '', 'none'],
    ['qemu-nbd over TLS-PSK', () => qemuNbd([...tlsQemu, '-x', 'sda', source]), 'sda', psk],
    ['qemu-nbd unencrypted', () => qemuNbd(['-x', 'sda', source]), 'sda', 'none'],
  ];
  for (const [name, start, disk, security] of servers) {
    it(name, async () => {
      const { status, replica, verified } = await pull(await start(), disk, security);
      assert.deepEqual([status.error, status.progress], [null, 'done']);
      assert.ok(same(replica, source));
      assert.equal(verified, 'done');
      const used = status.disks[0]?.usedBytes ?? 0;
      assert.equal(status.disks[0]?.copiedBytes, used);
      assert.equal(status.disks[0]?.flushedBytes, used);
      const sparse = !name.includes('without structured');
      assert.equal(used, sparse ? SIZE - 9 * MIB - 8192 - 131072 : SIZE);
      // Blocks are asked for as a whole, and nbdkit sends the zeros inside of them: of 4 MiB one is free.
      const asked = name.startsWith('nbdkit') && sparse ? SIZE - 4 * MIB : used;
      assert.ok(status.wireBytes < asked * 1.02 + 200_000, `${status.wireBytes} bytes on the wire for ${asked}`);
    });
  }

  it('over eight connections', async () => {
    const { status, replica } = await pull(await qemuNbd([...tlsQemu, '-x', 'sda', source]), 'sda', psk, 8);
    assert.equal(status.progress, 'done');
    assert.ok(same(replica, source));
  });
});

describe('the receiver does not read', () => {
  async function refused(
    port: number,
    security: PskCredentials | 'none',
    disk = 'sda',
    sizeBytes = SIZE,
  ): Promise<CopyStatus> {
    const session = startPull({
      server: { host: '127.0.0.1', port },
      security,
      connections: 1,
      disks: [{ disk, sizeBytes, target: { kind: 'null', sizeBytes } }],
      bounds: { meeting: 2_000, copying: 2_000 },
    });
    await session.finished;
    assert.throws(() => session.copied(), { code: 'TRANSFER_FAILED' });
    return session.status();
  }

  it('a server that does not encrypt', async () => {
    const status = await refused(await nbdkit(['file', source]), psk);
    assert.equal(status.error?.code, 'TRANSFER_FAILED');
    assert.match(status.error?.message ?? '', /does not encrypt/);
    assert.equal(status.disks[0]?.usedBytes, null);
  });

  it('a server with another key', async () => {
    const port = await nbdkit(['--tls=require', `--tls-psk=${keys}/keys.psk`, 'file', source]);
    const status = await refused(port, { identity: psk.identity, key: Buffer.alloc(32, 3) });
    assert.equal(status.error?.code, 'TRANSFER_FAILED');
    assert.match(status.error?.message ?? '', /TLS handshake/);
  });

  it('an export of another size', async () => {
    const port = await nbdkit(['file', source]);
    const status = await refused(port, 'none', '', SIZE - 512);
    assert.equal(status.error?.code, 'SOURCE_CHANGED');
    assert.match(status.error?.message ?? '', new RegExp(`${SIZE} bytes.*${SIZE - 512}`));
  });

  it('a server that speaks something else', async () => {
    const port = await freePort();
    lab.start(process.execPath, [
      '-e',
      `require('net').createServer((s) => { s.on('error', () => {}); s.end('SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\\r\\n'); }).listen(${port}, '127.0.0.1')`,
    ]);
    await listening(port);
    const status = await refused(port, 'none');
    assert.match(status.error?.message ?? '', /no NBD server/);
  });
});

/** A server that negotiates properly and then answers every READ with a chunk behind the range that was asked for. */
async function liar(sizeBytes: number): Promise<number> {
  const reply = (option: number, type: number, payload = Buffer.alloc(0)): Buffer => {
    const head = Buffer.alloc(20);
    head.writeBigUInt64BE(0x0003e889045565a9n, 0);
    head.writeUInt32BE(option, 8);
    head.writeUInt32BE(type, 12);
    head.writeUInt32BE(payload.length, 16);
    return Buffer.concat([head, payload]);
  };
  const server = createServer((socket) => {
    let received = Buffer.alloc(0);
    let phase: 'flags' | 'options' | 'requests' = 'flags';
    socket.on('error', () => {});
    socket.write(Buffer.from('4e42444d4147494349484156454f50540003', 'hex'));
    socket.on('data', (data) => {
      received = Buffer.concat([received, data]);
      const take = (bytes: number): Buffer => {
        const taken = received.subarray(0, bytes);
        received = received.subarray(bytes);
        return taken;
      };
      if (phase === 'flags' && received.length >= 4) {
        take(4);
        phase = 'options';
      }
      while (phase === 'options' && received.length >= 16) {
        const length = received.readUInt32BE(12);
        if (received.length < 16 + length) return;
        const option = take(16 + length).readUInt32BE(8);
        if (option === 7) {
          const info = Buffer.alloc(12);
          info.writeBigUInt64BE(BigInt(sizeBytes), 2);
          socket.write(Buffer.concat([reply(7, 3, info), reply(7, 1)]));
          phase = 'requests';
        } else socket.write(reply(option, option === 8 ? 1 : 0x80000001));
      }
      while (phase === 'requests' && received.length >= 28) {
        const request = take(28);
        const chunk = Buffer.alloc(20 + 8 + 512, 0x66);
        chunk.writeUInt32BE(0x668e33ef, 0);
        chunk.writeUInt32BE(0x00010001, 4);
        request.copy(chunk, 8, 8, 16);
        chunk.writeUInt32BE(8 + 512, 16);
        chunk.writeBigUInt64BE(request.readBigUInt64BE(16) + BigInt(request.readUInt32BE(24)), 20);
        socket.write(chunk);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  lab.later(() => {
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

describe('a server that breaks the protocol', () => {
  it('ends the copy after a few connections, and nothing that it sent reaches the target', async () => {
    const port = await liar(SIZE);
    const { status, replica } = await pull(port, 'sda', 'none');
    assert.equal(status.progress, 'failed');
    assert.equal(status.error?.code, 'PROTOCOL_VIOLATION');
    assert.match(status.error?.message ?? '', /answers a READ/);
    assert.equal(status.disks[0]?.copiedBytes, 0);
    assert.ok(same(replica, lab.garbage(SIZE)));
  });
});

describe('read errors of a server', () => {
  it('that pass are tried again, in smaller parts', async () => {
    // One READ in twenty fails.
    const port = await nbdkit(['--filter=error', 'file', source, 'error-pread=EIO', 'error-pread-rate=5%']);
    const { status, replica, verified } = await pull(port, '', 'none');
    assert.deepEqual([status.error, status.progress], [null, 'done']);
    assert.ok(same(replica, source));
    assert.equal(verified, 'done');
  });

  it('that stay end the copy and name the range', async () => {
    const port = await nbdkit(['--filter=error', 'file', source, 'error-pread=EIO', 'error-pread-rate=100%']);
    const { status } = await pull(port, '', 'none', 1);
    assert.equal(status.progress, 'failed');
    assert.equal(status.error?.code, 'SOURCE_READ_FAILED');
    assert.match(status.error?.message ?? '', /cannot read 65536 bytes at \d+ \(tried 3 times\)/);
  });
});
