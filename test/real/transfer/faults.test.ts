/** What goes wrong on the way, and what the copy makes of it. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { type ExportSession, startExport } from '../../../agent/export/serve.ts';
import { HALF_OPEN_MAX, HANDSHAKE_DEADLINE_MS } from '../../../appliance/api/transfer.ts';
import { type CopySession, startCopy } from '../../../receiver/copy/copy.ts';
import { startVerify } from '../../../receiver/copy/verify.ts';
import type { TargetSpec } from '../../../receiver/target/target.ts';
import { JOB, kill, Lab, MIB, same, TOKEN, until } from './transfer-lab.ts';

const lab = new Lab();
after(() => lab.clean());

function receive(sizeBytes: number, target: TargetSpec, noProgressMs = 60_000): CopySession {
  const session = startCopy({
    jobId: JOB,
    token: TOKEN,
    connections: 2,
    listen: { host: '127.0.0.1', port: 0 },
    disks: [{ disk: 'sda', sizeBytes, target }],
    bounds: { meeting: noProgressMs, copying: noProgressMs },
  });
  lab.later(() => session.stop());
  return session;
}

function serve(path: string, sizeBytes: number, port: number, token = TOKEN): ExportSession {
  const disks = [{ disk: 'sda', path, sizeBytes }];
  const session = startExport({ jobId: JOB, token, connections: 2, address: '127.0.0.1', port, disks });
  lab.later(() => session.stop());
  return session;
}

/** The agent's export in a process of its own, which can be killed. */
function agentProcess(path: string, sizeBytes: number, port: number): ChildProcess {
  const serveUrl = pathToFileURL(join(import.meta.dirname, '../../../agent/export/serve.ts')).href;
  const order = { jobId: JOB, connections: 2, address: '127.0.0.1', port, disks: [{ disk: 'sda', path, sizeBytes }] };
  const script = `import { startExport } from ${JSON.stringify(serveUrl)};
    startExport({ ...${JSON.stringify(order)}, token: Buffer.from('${TOKEN.toString('hex')}', 'hex') });
    setInterval(() => {}, 1000);`;
  const file = lab.path('agent.mjs');
  writeFileSync(file, script);
  const child = spawn(process.execPath, [file], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  lab.later(() => kill(child));
  return child;
}

const copied = (session: CopySession): number => session.status().disks[0]?.copiedBytes ?? 0;

/** Passes bytes on between the agent and the receiver, until it is told to stop doing so. */
async function middleman(port: number): Promise<{ port: number; silence(): void; cut(): void }> {
  const sockets = new Set<Socket>();
  let silent = false;
  const server = createServer((from) => {
    const to = connect(port, '127.0.0.1');
    for (const [a, b] of [
      [from, to],
      [to, from],
    ] as const) {
      sockets.add(a);
      a.on('data', (data) => {
        if (!silent) b.write(data);
      });
      a.on('error', () => b.destroy());
      a.on('close', () => b.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  lab.later(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    port: address.port,
    silence: () => {
      silent = true;
    },
    cut: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
}

describe('the agent', () => {
  const sizeBytes = 384 * MIB;
  const source = lab.random(sizeBytes);

  it('is killed twice in the middle: the copy goes on where it was', async () => {
    const stale = lab.garbage(sizeBytes);
    const replica = lab.loop(stale);
    const session = receive(sizeBytes, { kind: 'device', path: replica.path });
    for (const share of [0.1, 0.5]) {
      const agent = agentProcess(source, sizeBytes, session.port);
      await until(
        `${share} is copied`,
        () => copied(session) > share * sizeBytes || session.status().progress !== 'running',
      );
      await kill(agent);
      assert.equal(session.status().progress, 'running', 'it was killed in time');
    }
    agentProcess(source, sizeBytes, session.port);
    await session.finished;
    const status = session.status();
    assert.deepEqual([status.progress, status.error], ['done', null]);
    assert.ok(status.reconnects >= 2, `${status.reconnects} connections were lost`);
    // What was in flight at each kill comes again: 8 pieces on each of 2 connections, and what TLS and sockets held.
    assert.ok(status.wireBytes < sizeBytes * 1.02 + 2 * 2 * 8 * MIB, `${status.wireBytes} bytes on the wire`);
    const verify = startVerify(session.copied());
    await verify.finished;
    assert.equal(verify.status().progress, 'done');
    replica.detach();
    assert.ok(same(stale, source));
  });

  it('is cut off again and again: every connection is renewed', async () => {
    const session = receive(sizeBytes, { kind: 'null', sizeBytes });
    const between = await middleman(session.port);
    const agent = serve(source, sizeBytes, between.port);
    for (const share of [0.1, 0.3, 0.6]) {
      await until(
        `${share} is copied`,
        () => copied(session) > share * sizeBytes || session.status().progress !== 'running',
      );
      between.cut();
    }
    await session.finished;
    assert.deepEqual([session.status().progress, session.status().error], ['done', null]);
    assert.ok(session.status().reconnects >= 3);
    await agent.stop();
    assert.equal(agent.status().running, false);
  });

  it('never comes: the copy fails and says so', async () => {
    const session = receive(MIB, { kind: 'null', sizeBytes: MIB }, 1_500);
    await session.finished;
    assert.equal(session.status().error?.code, 'TRANSFER_FAILED');
    assert.match(session.status().error?.message ?? '', /Nobody connected/);
  });

  it('falls silent: the copy fails instead of waiting for ever', async () => {
    const session = receive(sizeBytes, { kind: 'null', sizeBytes }, 3_000);
    const between = await middleman(session.port);
    serve(source, sizeBytes, between.port);
    await until('some is copied', () => copied(session) > 0);
    between.silence();
    await session.finished;
    assert.equal(session.status().error?.code, 'TRANSFER_FAILED');
    assert.throws(() => session.copied());
  });

  it('has another token: it is not listened to, and the right one still gets through', async () => {
    const session = receive(sizeBytes, { kind: 'null', sizeBytes });
    const stranger = serve(source, sizeBytes, session.port, Buffer.alloc(32, 1));
    await until('the stranger is refused', () => stranger.status().error !== null);
    assert.equal(stranger.status().error?.code, 'TRANSFER_FAILED');
    assert.match(stranger.status().error?.message ?? '', /TLS/);
    assert.equal(stranger.status().exports[0]?.readBytes, 0);
    serve(source, sizeBytes, session.port);
    await session.finished;
    assert.equal(session.status().progress, 'done');
    assert.equal(stranger.status().exports[0]?.readBytes, 0);
  });

  it('comes while a crowd holds connections half open', async () => {
    const session = receive(sizeBytes, { kind: 'null', sizeBytes });
    const crowd: Socket[] = [];
    lab.later(() => {
      for (const socket of crowd) socket.destroy();
    });
    const begun = performance.now();
    let ended = 0;
    for (let i = 0; i < 60; i++) {
      const socket = connect(session.port, '127.0.0.1');
      socket.on('error', () => {});
      socket.on('close', () => ended++);
      // Read on, to see the end.
      socket.resume();
      // Some say nothing, some begin like a server and stop.
      if (i % 3 === 1) socket.write(Buffer.from('NBDMAGIC'));
      if (i % 3 === 2) socket.write(Buffer.from('4e42444d4147494349484156454f50540003', 'hex'));
      crowd.push(socket);
    }
    // The deadline would end them as well: the bound on half-open ones does it before.
    await until('only as many as are allowed are left', () => ended >= 60 - HALF_OPEN_MAX);
    assert.ok(performance.now() - begun < HANDSHAKE_DEADLINE_MS);
    assert.equal(ended, 60 - HALF_OPEN_MAX);
    serve(source, sizeBytes, session.port);
    await session.finished;
    assert.deepEqual([session.status().progress, session.status().error], ['done', null]);
  });
});

describe('the source disk', () => {
  it('cannot be read in one place: the copy fails and names it, and nothing is made up', async () => {
    // The storage under a loop device ends early: reading behind that gives EIO.
    const sizeBytes = 16 * MIB;
    const path = lab.random(sizeBytes);
    const device = lab.loop(path);
    truncateSync(path, 10 * MIB + 128 * 1024);
    const session = receive(sizeBytes, { kind: 'null', sizeBytes });
    serve(device.path, sizeBytes, session.port);
    await session.finished;
    assert.equal(session.status().error?.code, 'SOURCE_READ_FAILED');
    const [, offset = '0'] =
      /cannot read 65536 bytes at (\d+) \(tried 3 times\): .*EIO/.exec(session.status().error?.message ?? '') ?? [];
    assert.ok(Number(offset) >= 10 * MIB + 64 * 1024, session.status().error?.message);
  });

  it('is another one than the job began with', async () => {
    const sizeBytes = 16 * MIB;
    const session = receive(sizeBytes, { kind: 'null', sizeBytes }, 3_000);
    const path = lab.random(8 * MIB);
    const agent = serve(path, sizeBytes, session.port);
    await assert.rejects(agent.mapped, { code: 'SOURCE_CHANGED', message: /8388608 bytes now/ });
    assert.equal(agent.status().error?.code, 'SOURCE_CHANGED');
    await session.finished;
    assert.equal(session.status().progress, 'failed');
  });

  it('is not there', async () => {
    const agent = serve(join(lab.folder, 'missing'), MIB, 9);
    await assert.rejects(agent.mapped, { code: 'SOURCE_READ_FAILED', message: /'sda' cannot be opened: .*ENOENT/ });
  });
});

describe('the target', () => {
  it('is smaller than the disk: refused before anything is touched', () => {
    const path = lab.garbage(8 * MIB);
    assert.throws(() => receive(8 * MIB + 512, { kind: 'device', path }), {
      code: 'TARGET_WRITE_FAILED',
      message: /has 8388608 bytes; the disk has 8389120/,
    });
    assert.throws(() => receive(MIB, { kind: 'device', path: join(lab.folder, 'missing') }), {
      code: 'TARGET_WRITE_FAILED',
    });
  });
});
