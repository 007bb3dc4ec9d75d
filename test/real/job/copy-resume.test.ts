/**
 * A job with the whole orchestrator, a real agent and real receivers as processes: the copy outlives the death of each of them, obeys a
 * pause and its limits, and what it left is checked against its manifest.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createWriteStream, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { JobView, Machine } from '../../../appliance/api/rest.ts';
import { CONFIG_DEFAULTS } from '../../../appliance/config.ts';
import { makeLog } from '../../../appliance/http.ts';
import { transferVmName } from '../../../appliance/job/names.ts';
import { startOrchestrator } from '../../../appliance/server.ts';
import { loopDisk, type TestDisk } from '../../contract/snapshot/disks.ts';
import { atEnd, temporaryFolder } from '../../lab/orchestrator/folder.ts';
import { ask, until } from '../../lab/orchestrator/orchestrator.ts';
import { ProcessHypervisor } from '../../lab/orchestrator/process-hypervisor.ts';
import { type Process, start } from '../agent/processes.ts';

assert.equal(process.getuid?.(), 0, 'These tests attach loop devices: run them as root.');

const MIB = 1024 * 1024;
/** More than three flushes at that rate: the third death must not come after the end. */
const SOURCE_BYTES = 96 * MIB;
/** Slow enough that things happen in the middle of the copy. */
const SLOW = 4 * MIB;
const LIMIT_MS = 120_000;

interface Scene {
  socket: string;
  hypervisor: ProcessHypervisor;
  source: TestDisk;
  machine: string;
  agent: Process;
  bootAgent(): Process;
}

async function scene(t: TestContext, content: Buffer): Promise<Scene> {
  const folder = await temporaryFolder(t);
  const hypervisor = new ProcessHypervisor(folder);
  const images = join(folder, 'images');
  mkdirSync(join(images, 'transfer'), { recursive: true });
  for (const name of ['vmlinuz', 'initrd']) writeFileSync(join(images, 'transfer', name), name);
  const socket = join(folder, 'rehost.sock');
  const local = { name: 'local', uri: 'test:///processes', pool: 'default', network: 'default' };
  const logged = join(folder, 'log');
  const running = await startOrchestrator(
    {
      ...CONFIG_DEFAULTS,
      state: join(folder, 'state'),
      listen: '127.0.0.1',
      address: '127.0.0.1',
      port: 0,
      httpPort: 0,
      socket,
      images,
      hypervisors: [{ ...local, acceleration: 'tcg' }],
    },
    {
      connect: async () => hypervisor,
      networkBoot: { registerFiles: () => {}, start: async () => async () => {} },
      log: makeLog(createWriteStream(logged)),
    },
  );
  atEnd(t, () => running.close());
  const boot = createServer((_request, response) => response.end(running.identity.caPem));
  await new Promise<void>((resolve) => boot.listen(0, '127.0.0.1', resolve));
  atEnd(t, async () => {
    boot.closeAllConnections();
    boot.close();
  });
  const source = loopDisk(t, content);
  const cmdline = join(folder, 'cmdline');
  const screen = join(folder, 'screen');
  const bootUrl = `http://127.0.0.1:${(boot.address() as AddressInfo).port}`;
  const { port, identity } = running;
  writeFileSync(cmdline, `rehost.orchestrator=127.0.0.1:${port} rehost.boot=${bootUrl} rehost.pin=${identity.pin}\n`);
  writeFileSync(screen, '');
  const places = ['--cmdline', cmdline, '--console', screen, '--state', join(folder, 'agent')];
  const bootAgent = () => start(t, 'agent/main.ts', [...places, '--disk', source.name]);
  const agent = bootAgent();
  const machines = async () => (await ask(socket, 'GET', '/api/v1/machines')).json() as Machine[];
  await until('the agent dials in', async () => (await machines()).length === 1, LIMIT_MS);
  const code = () => /\b([0-9A-Z]{4}-[0-9A-Z]{4})\b/.exec(readFileSync(screen, 'utf8'))?.[1];
  await until('the screen shows the code', () => code() !== undefined, LIMIT_MS);
  const [machine] = await machines();
  const approved = await ask(socket, 'POST', `/api/v1/machines/${machine?.id}/approve`, { code: code(), name: 'db' });
  assert.equal(approved.status, 200, approved.text);
  return { socket, hypervisor, source, machine: 'db', agent, bootAgent };
}

async function call(s: Scene, method: string, path: string, body?: unknown): Promise<JobView> {
  const answer = await ask(s.socket, method, `/api/v1/jobs${path}`, body);
  assert.ok(answer.status < 300, answer.text);
  return answer.json() as JobView;
}

const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');

test('copy: the death of receiver and agent, a pause and a limit cost no byte of the copy; the replica is checked later', async (t) => {
  const content = randomBytes(SOURCE_BYTES);
  // A hole, and zeros that are written.
  content.fill(0, 20 * MIB, 28 * MIB);
  const s = await scene(t, content);
  const order = { machine: s.machine, name: 'copy-1', bytesPerSecond: SLOW };
  const { job } = await call(s, 'POST', '', order);
  const { id } = job;
  const look = async () => await call(s, 'GET', `/${id}`);
  const flushed = ({ progress }: JobView) => progress?.disks[0]?.flushedBytes ?? 0;
  const wait = async (what: string, holds: (view: JobView) => boolean): Promise<JobView> => {
    let view = await look();
    await until(
      what,
      async () => {
        view = await look();
        assert.ok(view.job.state !== 'failed' || what === 'its end', `${view.job.error?.message} ${s.hypervisor.said}`);
        return holds(view);
      },
      LIMIT_MS,
    );
    return view;
  };

  const first = await wait('something is flushed', (view) => flushed(view) > 0);
  assert.equal(first.job.attempts, 1);
  assert.ok(await s.hypervisor.kill(transferVmName(id)), 'a receiver ran');
  const second = await wait('the copy goes on', (view) => view.job.attempts === 2 && flushed(view) > flushed(first));
  assert.ok((second.progress?.disks[0]?.resumedBytes ?? 0) >= flushed(first), 'what was flushed is not copied again');

  await s.agent.kill();
  const agent = s.bootAgent();
  const third = await wait('the copy goes on', (view) => view.job.attempts >= 3 && flushed(view) > flushed(second));
  assert.equal(third.job.state, 'copy');
  assert.ok((third.progress?.disks[0]?.resumedBytes ?? 0) >= flushed(second));

  await call(s, 'POST', `/${id}/pause`);
  const paused = await wait('it stands still', (view) => view.job.paused?.code === 'PAUSED');
  await new Promise((resolve) => setTimeout(resolve, 2000));
  const still = await look();
  assert.equal(still.job.state, 'copy');
  assert.ok(
    (still.progress?.doneBytes ?? 0) - (paused.progress?.doneBytes ?? 0) <= 16 * MIB,
    'only what was in flight',
  );
  await call(s, 'POST', `/${id}/resume`);
  await call(s, 'PATCH', `/${id}/limits`, { bytesPerSecond: null });

  // There is no guest system on this disk, and no transfer VM that could be given an overlay.
  const ended = await wait('its end', (view) => view.job.state === 'failed');
  assert.equal(ended.job.replicaVerified, true, `${ended.job.error?.message} ${s.hypervisor.said} ${agent.output()}`);
  const [replica = ''] = ended.job.kept;
  assert.equal(sha256(s.hypervisor.fileOf(replica)), sha256(s.source.file));
  t.diagnostic(ended.job.phases.map(({ state, detail }) => `${state}: ${detail}`).join(' | '));

  await call(s, 'POST', `/${id}/verify`);
  const checked = await wait('its end', (view) => view.job.lastCheck !== null && view.job.state === 'failed');
  assert.equal(checked.job.lastCheck?.ok, true, `${checked.job.lastCheck?.message} ${s.hypervisor.said}`);
  const file = await open(s.hypervisor.fileOf(replica), 'r+');
  await file.write(Buffer.from([(content[50 * MIB] ?? 0) ^ 1]), 0, 1, 50 * MIB);
  await file.close();
  await call(s, 'POST', `/${id}/verify`);
  const wrong = await wait('its end', (view) => view.job.lastCheck?.ok !== true && view.job.state === 'failed');
  assert.equal(wrong.job.lastCheck?.ok, false, wrong.job.lastCheck?.message);
  assert.match(wrong.job.lastCheck?.message ?? '', /^VERIFY_MISMATCH: /);
  assert.deepEqual(s.hypervisor.violations, []);
});
