import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { encodeConfigDisk } from '../../../appliance/api/config-disk.ts';
import type { RECEIVER_METHODS, ResultOf } from '../../../appliance/api/control.ts';
import { atEnd } from '../../contract/snapshot/at-end.ts';
import { loopDisk, QUIET, type TestDisk } from '../../contract/snapshot/disks.ts';
import { type AgentPeer, OrchestratorEnd, type ReceiverPeer } from './orchestrator-end.ts';
import { eventually, type Process, start } from './processes.ts';

assert.equal(process.getuid?.(), 0, 'These tests attach loop devices: run them as root.');

const MIB = 1024 * 1024;
const JOB = 'job123';

interface Scene {
  orchestrator: OrchestratorEnd;
  source: TestDisk;
  replica: TestDisk;
  agent: AgentPeer;
  receiver: ReceiverPeer;
  /** The running processes; the functions start them, and start them again as init does. */
  agentProcess: Process;
  receiverProcess: Process;
  bootAgent: () => Process;
  bootReceiver: () => Process;
  token: string;
}

/** Both ends as processes of their own, dialled in: a source disk with this content, a replica full of rubbish. */
async function scene(t: TestContext, content: Buffer): Promise<Scene> {
  const folder = mkdtempSync(join(tmpdir(), 'rehost-copy-'));
  atEnd(t, () => rmSync(folder, { recursive: true }));
  const orchestrator = new OrchestratorEnd();
  await orchestrator.listen();
  atEnd(t, () => orchestrator.close());
  const source = loopDisk(t, content);
  const replica = loopDisk(t, Buffer.alloc(content.length, 0xee));

  const cmdline = join(folder, 'cmdline');
  const screen = join(folder, 'screen');
  writeFileSync(cmdline, orchestrator.commandLine);
  writeFileSync(screen, '');
  const agentPlaces = ['--cmdline', cmdline, '--console', screen, '--state', join(folder, 'agent')];
  const bootAgent = (): Process => start(t, 'agent/main.ts', [...agentPlaces, '--disk', source.name]);

  const config = join(folder, 'config');
  const { secret, pki, port } = orchestrator;
  const where = { host: '127.0.0.1', port };
  writeFileSync(config, encodeConfigDisk({ version: 1, orchestrator: where, caPem: pki.caPem, jobId: JOB, secret }));
  const receiverPlaces = ['--config', config, '--state', join(folder, 'receiver'), '--address', '127.0.0.1'];
  const bootReceiver = (): Process =>
    start(t, 'receiver/main.ts', [...receiverPlaces, '--disk', `replica=${replica.path}`]);

  const [agentProcess, receiverProcess] = [bootAgent(), bootReceiver()];
  const [agent, receiver] = await Promise.all([orchestrator.agent(0), orchestrator.receiver(0)]);
  const token = randomBytes(32).toString('base64');
  const processes = { agentProcess, receiverProcess, bootAgent, bootReceiver };
  return { orchestrator, source, replica, agent, receiver, token, ...processes };
}

/** Snapshot, both ends started; answers the receiver's port. Asked again, on other channels too, it attaches. */
async function startBothEnds(s: Scene, agent: AgentPeer, receiver: ReceiverPeer): Promise<number> {
  const snapshot = await agent.request('snapshot.create', { jobId: JOB, disks: [s.source.name] });
  const sizeBytes = snapshot.disks[0]?.sizeBytes ?? 0;
  const disks = [{ disk: s.source.name, serial: 'replica', sizeBytes }];
  const order = { jobId: JOB, token: s.token, connections: 2 };
  const { addresses, port } = await receiver.request('copy.start', { ...order, disks });
  assert.deepEqual(addresses, ['127.0.0.1']);
  await agent.request('export.start', { ...order, address: '127.0.0.1', port });
  return port;
}

type CopyStatus = ResultOf<typeof RECEIVER_METHODS, 'copy.status'>;

/** Waits until `enough` bytes are copied, or all. Fails with the copy's error. */
async function copied(receiver: ReceiverPeer, enough: number): Promise<CopyStatus> {
  return await eventually(`${enough} bytes copied`, async () => {
    const status = await receiver.request('copy.status', { jobId: JOB });
    assert.equal(status.error, null);
    const bytes = status.disks.reduce((sum, disk) => sum + disk.copiedBytes, 0);
    return status.progress === 'done' || bytes >= enough ? status : undefined;
  });
}

async function verified(receiver: ReceiverPeer): Promise<{ sha256: string; bytes: number }> {
  await receiver.request('verify.start', { jobId: JOB });
  return await eventually('the end of the verification', async () => {
    const status = await receiver.request('verify.status', { jobId: JOB });
    assert.equal(status.error, null);
    return status.progress === 'done' ? status.manifests[0] : undefined;
  });
}

/** What stands on a device, past the kernel's cache. */
function sha256(path: string): string {
  execFileSync('blockdev', ['--flushbufs', path], QUIET);
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/** Does the process hold this file open? */
function holds(process: Process, path: string): boolean {
  const folder = `/proc/${process.child.pid}/fd`;
  return readdirSync(folder).some((fd) => {
    try {
      return readlinkSync(join(folder, fd)) === path;
    } catch {
      // Closed since it was listed.
      return false;
    }
  });
}

/** Bytes that no two places of the disk have in common, made fast. */
function unlike(bytes: number): Buffer {
  const content = Buffer.alloc(bytes, randomBytes(MIB + 7));
  for (let at = 0; at < bytes; at += 4096) content.writeUInt32LE(at / 4096, at);
  return content;
}

void test('copy: snapshot, export, copy, verification, release; the source is untouched and the replica equal', async (t) => {
  // Data, zeros, and data again.
  const content = Buffer.concat([unlike(8 * MIB), Buffer.alloc(20 * MIB), unlike(20 * MIB)]);
  const before = createHash('sha256').update(content).digest('hex');
  const s = await scene(t, content);
  const { agent, receiver, source, replica } = s;
  await assert.rejects(receiver.request('verify.start', { jobId: JOB }), { code: 'TRANSFER_FAILED' });
  await startBothEnds(s, agent, receiver);
  const status = await copied(receiver, Number.POSITIVE_INFINITY);
  assert.ok(status.wireBytes < 1.15 * 28 * MIB, `${status.wireBytes} bytes on the wire`);
  const served = await agent.request('export.status', { jobId: JOB });
  assert.ok((served.exports[0]?.readBytes ?? 0) >= 28 * MIB);
  const manifest = await verified(receiver);
  assert.match(manifest.sha256, /^[0-9a-f]{64}$/);

  await agent.request('export.stop', { jobId: JOB });
  const again = { jobId: JOB, address: '127.0.0.1', port: 1, token: s.token, connections: 2 };
  await assert.rejects(agent.request('export.start', again), { code: 'TOKEN_SPENT' });
  await agent.request('snapshot.release', { jobId: JOB });
  await receiver.request('copy.release', { jobId: JOB });
  assert.equal(holds(s.receiverProcess, replica.path), false);
  assert.equal(holds(s.agentProcess, source.path), false);
  assert.equal(sha256(source.path), before);
  assert.equal(sha256(replica.path), before);
});

void test('copy: a cut of both control channels does not disturb the data, and asking again attaches', async (t) => {
  const content = unlike(256 * MIB);
  const s = await scene(t, content);
  const port = await startBothEnds(s, s.agent, s.receiver);
  s.orchestrator.cut();
  const [agent, receiver] = await Promise.all([s.orchestrator.agent(1), s.orchestrator.receiver(1)]);
  assert.equal(await startBothEnds(s, agent, receiver), port);
  const status = await copied(receiver, Number.POSITIVE_INFINITY);
  assert.equal(status.reconnects, 0);
  assert.equal(s.orchestrator.shown[0], s.orchestrator.secret);
  assert.notEqual(s.orchestrator.shown[1], s.orchestrator.secret);
  await verified(receiver);
  assert.equal(sha256(s.replica.path), createHash('sha256').update(content).digest('hex'));
});

void test('copy: an agent killed in the middle and started again goes on without copying again', async (t) => {
  const content = unlike(512 * MIB);
  const s = await scene(t, content);
  await startBothEnds(s, s.agent, s.receiver);
  await copied(s.receiver, 16 * MIB);
  await s.agentProcess.kill();
  const atTheKill = await s.receiver.request('copy.status', { jobId: JOB });
  assert.equal(atTheKill.progress, 'running', 'The copy was over before the agent was killed.');
  s.bootAgent();
  const agent = await s.orchestrator.agent(1);
  await startBothEnds(s, agent, s.receiver);
  const status = await copied(s.receiver, Number.POSITIVE_INFINITY);
  assert.ok(status.reconnects >= 1);
  assert.ok(status.wireBytes < 1.15 * content.length, `${status.wireBytes} bytes on the wire`);
  await verified(s.receiver);
  assert.equal(sha256(s.replica.path), createHash('sha256').update(content).digest('hex'));
});

void test('copy: a receiver started again enrols with its session key and says that it has lost its copy', async (t) => {
  const s = await scene(t, unlike(64 * MIB));
  await startBothEnds(s, s.agent, s.receiver);
  await s.receiverProcess.kill();
  s.bootReceiver();
  const receiver = await s.orchestrator.receiver(1);
  assert.notEqual(s.orchestrator.shown[1], s.orchestrator.secret);
  const { progress } = await receiver.request('copy.status', { jobId: JOB });
  assert.equal(progress, 'idle');
  await assert.rejects(receiver.request('copy.status', { jobId: 'other1' }), { code: 'JOB_UNKNOWN' });
});

void test('copy: a job that is stopped holds nothing, and another order may come', async (t) => {
  const s = await scene(t, unlike(64 * MIB));
  const disks = [{ disk: s.source.name, serial: 'replica', sizeBytes: 64 * MIB }];
  const order = { jobId: JOB, token: s.token, connections: 2, disks };
  await s.receiver.request('copy.start', order);
  await assert.rejects(s.receiver.request('copy.release', { jobId: JOB }), { code: 'MACHINE_BUSY' });
  await assert.rejects(s.receiver.request('copy.start', { ...order, connections: 1 }), { code: 'REQUEST_INVALID' });
  await s.receiver.request('job.stop', { jobId: JOB });
  assert.equal((await s.receiver.request('copy.status', { jobId: JOB })).progress, 'idle');
  assert.equal(holds(s.receiverProcess, s.replica.path), false);
  // The next order may be another one.
  await s.receiver.request('copy.start', { ...order, connections: 1 });
  assert.equal((await s.receiver.request('copy.status', { jobId: JOB })).progress, 'running');
});
