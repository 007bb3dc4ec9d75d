import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { atEnd } from '../../contract/snapshot/at-end.ts';
import { loopDisk, type TestDisk } from '../../contract/snapshot/disks.ts';
import { OrchestratorEnd } from './orchestrator-end.ts';
import { eventually, type Process, start } from './processes.ts';

assert.equal(process.getuid?.(), 0, 'These tests attach loop devices: run them as root.');

interface Scene {
  orchestrator: OrchestratorEnd;
  disk: TestDisk;
  screen: () => string;
  stateDir: string;
  boot: (commandLine?: string) => Process;
}

async function scene(t: TestContext): Promise<Scene> {
  const folder = mkdtempSync(join(tmpdir(), 'rehost-agent-'));
  atEnd(t, () => rmSync(folder, { recursive: true }));
  const orchestrator = new OrchestratorEnd();
  await orchestrator.listen();
  atEnd(t, () => orchestrator.close());
  const disk = loopDisk(t, Buffer.alloc(4 * 1024 * 1024, 3));
  const screen = join(folder, 'screen');
  const stateDir = join(folder, 'state');
  writeFileSync(screen, '');
  const boot = (commandLine = orchestrator.commandLine): Process => {
    const cmdline = join(folder, 'cmdline');
    writeFileSync(cmdline, commandLine);
    const places = ['--cmdline', cmdline, '--console', screen, '--state', stateDir, '--disk', disk.name];
    return start(t, 'agent/main.ts', places);
  };
  return { orchestrator, disk, stateDir, boot, screen: () => readFileSync(screen, 'utf8') };
}

void test('agent: proves its key, reports its disks and shows the code that the orchestrator computes', async (t) => {
  const { orchestrator, disk, boot, screen } = await scene(t);
  boot();
  const agent = await orchestrator.agent(0);
  const [seen] = orchestrator.agentsSeen;
  assert.deepEqual(
    seen?.inventory.disks.map(({ name, sizeBytes }) => [name, sizeBytes]),
    [[disk.name, 4 * 1024 * 1024]],
  );
  await eventually('the code on the screen', () => screen().includes(`\nPairing code: ${seen?.code}\n`) || undefined);
  assert.equal(screen().split('Pairing code:').length, 2);
  await agent.request('approved', { name: 'db \u001b[2J 1' });
  await eventually(
    'the approval',
    () => screen().includes("\nApproved as 'db [2J 1'; this machine waits") || undefined,
  );
  const inventory = await agent.request('inventory', {});
  assert.deepEqual(inventory, seen?.inventory);
});

void test('agent: a process started again on the same boot is the same machine', async (t) => {
  const { orchestrator, boot, stateDir } = await scene(t);
  const first = boot();
  await orchestrator.agent(0);
  await first.kill();
  boot();
  await orchestrator.agent(1);
  const [one, two] = orchestrator.agentsSeen;
  assert.equal(one?.publicKey, two?.publicKey);
  assert.equal(one?.code, two?.code);
  assert.equal(statSync(join(stateDir, 'agent.key')).mode & 0o777, 0o600);
});

void test('agent: comes back by itself after a cut', async (t) => {
  const { orchestrator, boot, screen } = await scene(t);
  boot();
  await orchestrator.agent(0);
  orchestrator.cut();
  const agent = await orchestrator.agent(1);
  await agent.request('inventory', {});
  assert.match(screen(), /ERROR TRANSFER_FAILED/);
});

void test('agent: sends nothing to an orchestrator whose CA is not the pinned one, and says so in full', async (t) => {
  const { orchestrator, boot, screen } = await scene(t);
  const { child } = boot(orchestrator.commandLine.replace(/rehost\.pin=[0-9a-f]{64}/, `rehost.pin=${'00'.repeat(32)}`));
  const text = await eventually('the error on the screen', () => {
    const now = screen();
    return now.includes('What to do:') ? now : undefined;
  });
  assert.match(text, /ERROR NOT_AUTHORISED\n {2}What happened: The boot server's CA has the hash/);
  assert.match(text, /What is safe: Nothing was sent/);
  assert.equal(orchestrator.agentsSeen.length, 0);
  // It goes on trying: the right orchestrator may come.
  assert.equal(child.exitCode, null);
});

void test('agent: a command line without its words ends the process with the reason', async (t) => {
  const { boot, screen } = await scene(t);
  const { child, output } = boot('quiet\n');
  await eventually('the end of the process', () => child.exitCode ?? undefined);
  assert.equal(child.exitCode, 1);
  assert.match(
    screen(),
    /ERROR REQUEST_INVALID\n {2}What happened: The kernel parameter rehost.orchestrator is missing/,
  );
  assert.match(output(), /rehost\.orchestrator is missing/);
});

void test('agent: refuses what it must, with its code', async (t) => {
  const { orchestrator, disk, boot } = await scene(t);
  boot();
  const agent = await orchestrator.agent(0);
  const jobId = 'job123';
  await assert.rejects(agent.request('export.status', { jobId }), { code: 'JOB_UNKNOWN' });
  await assert.rejects(agent.request('snapshot.create', { jobId, disks: ['sdzz'] }), { code: 'SNAPSHOT_REFUSED' });
  const snapshot = await agent.request('snapshot.create', { jobId, disks: [disk.name] });
  assert.equal(snapshot.provider, 'offline');
  assert.deepEqual(await agent.request('snapshot.create', { jobId, disks: [disk.name] }), snapshot);
  await assert.rejects(agent.request('power', { action: 'off' }), { code: 'MACHINE_BUSY', message: /job123/ });
  const status = await agent.request('export.status', { jobId });
  assert.deepEqual(status, { running: false, connections: 0, wireBytes: 0, exports: [], error: null });
  await agent.request('snapshot.release', { jobId });
  await agent.request('snapshot.release', { jobId });
});
