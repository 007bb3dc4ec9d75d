import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { type Lab, openLab } from '../../lab/namespace.ts';

const LIMIT_MS = 60_000;
let lab: Lab;

before(async () => {
  lab = await openLab();
});
after(() => lab.close());
// A test that failed leaves nothing for the next one to stumble over.
afterEach(async () => {
  for (const child of started.splice(0)) child.kill('SIGKILL');
  for (const pid of await dnsmasqPids()) process.kill(pid, 'SIGKILL');
});
const started: ChildProcess[] = [];

interface Service {
  child: ChildProcess;
  /** Waits for a line that matches. */
  line: (pattern: RegExp) => Promise<string>;
}

function start(state: string, name = 'br-lan', env: Record<string, string> = {}, ipxeDir?: string): Service {
  const main = join(import.meta.dirname, 'service', 'main.ts');
  const argv = [process.execPath, main, join(lab.directory, state), name, ...(ipxeDir === undefined ? [] : [ipxeDir])];
  const child = lab.spawn(argv, { env });
  started.push(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  return {
    child,
    line: async (pattern) => {
      for (const end = Date.now() + LIMIT_MS; ; ) {
        const line = output.split('\n').find((candidate) => pattern.test(candidate));
        if (line !== undefined) return line;
        if (Date.now() > end) throw new Error(`no line like ${String(pattern)} in: ${output}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
  };
}

/** PIDs of the dnsmasq processes of the service that run with this state folder, or with any. */
async function dnsmasqPids(state?: string): Promise<number[]> {
  const argument = `--conf-file=${join(lab.directory, state ?? '', 'pxe', 'dnsmasq.conf')}`;
  const pids = (await lab.exec(['ip', 'netns', 'pids', lab.namespace])).split('\n').filter(Boolean);
  const found: number[] = [];
  for (const pid of pids) {
    const argv = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    const matches = (word: string): boolean =>
      state === undefined ? word.startsWith(`--conf-file=${lab.directory}/`) : word === argument;
    if (argv.split('\0').some(matches)) found.push(Number(pid));
  }
  return found;
}

async function stop({ child, line }: Service): Promise<void> {
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await line(/stopped/);
  await exited;
}

void test('pxe service: starts, writes one file, drops root, and is gone after stop', async () => {
  const service = start('plain');
  await service.line(/ready/);
  const [pid] = await dnsmasqPids('plain');
  assert.ok(pid, 'no dnsmasq runs');
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  assert.doesNotMatch(status, /^Uid:\s+0\s/m);
  const descriptors = await readdir(`/proc/${pid}/fd`);
  const open = await Promise.all(descriptors.map((fd) => readlink(`/proc/${pid}/fd/${fd}`)));
  // Sockets, pipes and /dev/null: no lease file anywhere.
  assert.deepEqual(
    open.filter((target) => target.startsWith('/') && target !== '/dev/null'),
    [],
  );
  assert.deepEqual(await readdir(join(lab.directory, 'plain'), { recursive: true }), ['pxe', 'pxe/dnsmasq.conf']);
  await stop(service);
  assert.deepEqual(await dnsmasqPids('plain'), []);
});

void test('pxe service: a second one on the same interface is refused, the first goes on', async () => {
  const first = start('first');
  await first.line(/ready/);
  const refusal = await start('second').line(/PXE_UNAVAILABLE/);
  assert.match(refusal, /has a port of br-lan/);
  assert.match(refusal, /UDP ports 67, 69 and 4011/);
  assert.equal((await dnsmasqPids('first')).length, 1);
  assert.equal((await dnsmasqPids('second')).length, 0);
  await stop(first);
});

void test('pxe service: a missing interface, a missing dnsmasq and missing binaries are each named', async () => {
  const noInterface = await start('none', 'eth9').line(/PXE_UNAVAILABLE/);
  assert.match(noInterface, /no interface 'eth9'/);
  assert.match(noInterface, /br-lan/);
  const noDnsmasq = await start('none', 'br-lan', { PATH: '/usr/bin:/bin' }).line(/PXE_UNAVAILABLE/);
  assert.match(noDnsmasq, /package dnsmasq-base/);
  await mkdir(join(lab.directory, 'empty'));
  const noIpxe = await start('none', 'br-lan', {}, join(lab.directory, 'empty')).line(/PXE_UNAVAILABLE/);
  assert.match(noIpxe, /undionly\.kpxe/);
  assert.match(noIpxe, /package ipxe/);
});

void test('pxe service: the dnsmasq of a killed orchestrator is replaced by the next one', async () => {
  const killed = start('crash');
  await killed.line(/ready/);
  const exited = once(killed.child, 'exit');
  killed.child.kill('SIGKILL');
  await exited;
  const [orphan] = await dnsmasqPids('crash');
  assert.ok(orphan, 'no orphan to begin with');
  const next = start('crash');
  await next.line(/ready/);
  const pids = await dnsmasqPids('crash');
  assert.equal(pids.length, 1);
  assert.notEqual(pids[0], orphan);
  await stop(next);
});

void test('pxe service: the end of dnsmasq is reported', async () => {
  const service = start('reported');
  await service.line(/ready/);
  for (const pid of await dnsmasqPids('reported')) process.kill(pid, 'SIGKILL');
  assert.match(await service.line(/PXE_UNAVAILABLE/), /dnsmasq ended by SIGKILL/);
  await stop(service);
});

interface Answer {
  from: string;
  offeredAddress: string;
  file: string;
}

async function ask(...argv: string[]): Promise<Answer> {
  const main = join(import.meta.dirname, 'dhcp-client', 'main.ts');
  // From the neighbour: another machine on the LAN.
  return JSON.parse(await lab.exec(['ip', 'netns', 'exec', lab.neighbour, process.execPath, main, ...argv]));
}

void test('pxe service: every kind of client is told its own file and offered no address', async () => {
  const service = start('answers');
  await service.line(/ready/);
  const script = 'http://10.77.0.1:8480/boot/agent.ipxe';
  const own = { from: '10.77.0.1', offeredAddress: '0.0.0.0' };
  assert.deepEqual(await ask('0'), { ...own, file: 'undionly.kpxe' });
  assert.deepEqual(await ask('7'), { ...own, file: 'ipxe.efi' });
  assert.deepEqual(await ask('9'), { ...own, file: 'ipxe.efi' });
  for (const architecture of ['0', '7', '9'])
    assert.deepEqual(await ask(architecture, 'ipxe'), { ...own, file: script });
  await stop(service);
});
