/** Stopping a copy. A file of its own: what is left behind is counted for the whole process. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { after, describe, it } from 'node:test';
import { type ExportSession, startExport } from '../../../agent/export/serve.ts';
import { type CopySession, startCopy } from '../../../receiver/copy/copy.ts';
import { startVerify } from '../../../receiver/copy/verify.ts';
import { JOB, Lab, MIB, TOKEN, until } from './transfer-lab.ts';

const lab = new Lab();
after(() => lab.clean());
const sizeBytes = 384 * MIB;
const source = lab.random(sizeBytes);
const order = { jobId: JOB, token: TOKEN, connections: 2 };

function receive(): CopySession {
  const target = { kind: 'null', sizeBytes } as const;
  return startCopy({ ...order, listen: { host: '127.0.0.1', port: 0 }, disks: [{ disk: 'sda', sizeBytes, target }] });
}

function serve(port: number): ExportSession {
  return startExport({ ...order, address: '127.0.0.1', port, disks: [{ disk: 'sda', path: source, sizeBytes }] });
}

/** Open files and threads of this process. */
function held(): number[] {
  return ['fd', 'task'].map((kind) => readdirSync(`/proc/self/${kind}`).length);
}

async function inTheMiddle(): Promise<number> {
  const session = receive();
  const agent = serve(session.port);
  await until('some is copied', () => (session.status().disks[0]?.copiedBytes ?? 0) > 0);
  await session.stop();
  assert.equal(session.status().progress, 'failed');
  assert.equal(session.status().error?.code, 'JOB_CANCELLED');
  await agent.stop();
  await session.stop();
  await agent.stop();
  assert.deepEqual([agent.status().running, agent.status().connections], [false, 0]);
  return session.port;
}

async function toTheEnd(): Promise<void> {
  const session = receive();
  const agent = serve(session.port);
  await session.finished;
  assert.equal(session.status().progress, 'done');
  const verify = startVerify(session.copied());
  await until('some is verified', () => verify.status().progress !== 'running' || verify.status().checkedBytes > 0);
  await verify.stop();
  await agent.stop();
}

describe('stopping', () => {
  it('in the middle ends both sides and leaves no socket, file or thread behind', async () => {
    // The first round brings what the process keeps for ever: threads of the file system, descriptors of the loop.
    await inTheMiddle();
    const before = held();
    const port = await inTheMiddle();
    assert.deepEqual(held(), before);
    const answer = await new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1');
      socket.once('connect', () => resolve('open'));
      socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code));
    });
    assert.equal(answer, 'ECONNREFUSED');
  });

  it('at the end leaves nothing either, nor does a verification that is stopped', async () => {
    await toTheEnd();
    const before = held();
    await toTheEnd();
    assert.deepEqual(held(), before);
  });

  it('ends what has not begun', async () => {
    const session = receive();
    await session.stop();
    assert.equal(session.status().error?.code, 'JOB_CANCELLED');
    const agent = serve(9);
    await agent.stop();
    assert.equal(agent.status().running, false);
    await assert.rejects(agent.mapped);
  });
});
