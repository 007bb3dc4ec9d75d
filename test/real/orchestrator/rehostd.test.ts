/** rehostd as a process: start, enrolment over TLS, approval through the command line, restarts, refusals to start. */
import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Machine } from '../../../appliance/api/rest.ts';
import { type AgentChannel, enrol, newKeys, shownCode } from '../../lab/orchestrator/agent.ts';
import { type Daemon, freePort, rehost, startDaemon } from '../../lab/orchestrator/daemon.ts';
import { atEnd, temporaryFolder } from '../../lab/orchestrator/folder.ts';

interface Appliance {
  folder: string;
  socket: string;
  httpPort: number;
  flags: string[];
  start(): Promise<Daemon>;
}

/** A folder with image files, and flags that keep everything in it. */
async function appliance(t: TestContext): Promise<Appliance> {
  const folder = await temporaryFolder(t);
  for (const name of ['transfer/vmlinuz', 'transfer/initrd', 'agent/vmlinuz', 'agent/initrd']) {
    await mkdir(join(folder, 'images', name, '..'), { recursive: true });
    await writeFile(join(folder, 'images', name), `the file ${name}`);
  }
  const socket = join(folder, 'run', 'rehost.sock');
  const httpPort = await freePort();
  const flags = ['--state', join(folder, 'state'), '--images', join(folder, 'images'), '--socket', socket];
  flags.push('--listen', '127.0.0.1', '--address', '127.0.0.1', '--port', '0', '--http-port', String(httpPort));
  const start = async (): Promise<Daemon> => {
    const daemon = await startDaemon(flags);
    atEnd(t, async () => {
      await daemon.end('SIGKILL');
    });
    return daemon;
  };
  return { folder, socket, httpPort, flags, start };
}

const machinesOf = async (socket: string): Promise<Machine[]> =>
  JSON.parse((await rehost(socket, 'machines', '--json')).out);

async function caOf({ folder }: Appliance): Promise<{ pem: string; der: Buffer }> {
  const pem = await readFile(join(folder, 'state/tls/ca.crt'), 'utf8');
  return { pem, der: new X509Certificate(pem).raw };
}

void test('rehostd: an agent enrols over TLS, is approved by its code, and stays approved over restarts of every kind', async (t) => {
  const place = await appliance(t);
  const keys = newKeys();
  const first = await place.start();
  const ca = await caOf(place);
  const { channel, proof } = await enrol(first.port, ca.pem, keys);
  assert.equal(proof.approved, false);
  assert.match((await rehost(place.socket, 'machines')).out, /waits for approval, online/);
  assert.equal((await rehost(place.socket, 'approve', proof.machineId, '0000-0000')).code, 4);
  const approved = await rehost(
    place.socket,
    'approve',
    proof.machineId,
    await shownCode(keys, ca.der),
    '--name',
    'db 1',
  );
  assert.deepEqual([approved.code, approved.err], [0, '']);

  assert.equal(await first.end('SIGTERM'), 0);
  await channel.closed;
  let before: AgentChannel = channel;
  for (const signal of ['SIGKILL', 'SIGINT'] as const) {
    const daemon = await place.start();
    assert.equal(daemon.pin, first.pin);
    const [offline] = await machinesOf(place.socket);
    assert.deepEqual([offline?.id, offline?.approved, offline?.online], [proof.machineId, true, false]);
    const again = await enrol(daemon.port, ca.pem, keys);
    assert.equal(again.proof.approved, true);
    assert.notEqual(again.channel, before);
    before = again.channel;
    const [online] = await machinesOf(place.socket);
    assert.deepEqual([online?.name, online?.online], ['db 1', true]);
    assert.equal(await daemon.end(signal), signal === 'SIGKILL' ? 'SIGKILL' : 0);
  }
});

void test('rehostd: what it keeps is readable by its owner only, and a stop leaves no socket behind that answers', async (t) => {
  const place = await appliance(t);
  const daemon = await place.start();
  assert.equal((await rehost(place.socket, 'health')).code, 0);
  for (const name of await readdir(join(place.folder, 'state'), { recursive: true })) {
    const facts = await stat(join(place.folder, 'state', name));
    assert.equal(facts.mode & 0o077, 0, name);
  }
  assert.equal(await daemon.end('SIGTERM'), 0);
  assert.equal((await rehost(place.socket, 'health')).code, 5);
});

void test('rehostd: plain HTTP serves boot files only; the CA there has the pin that is logged', async (t) => {
  const place = await appliance(t);
  const daemon = await place.start();
  const get = (path: string) => fetch(`http://127.0.0.1:${daemon.httpPort}${path}`);
  const pem = await (await get('/boot/ca.pem')).text();
  assert.equal(createHash('sha256').update(new X509Certificate(pem).raw).digest('hex'), daemon.pin);
  const script = await (await get('/boot/agent.ipxe')).text();
  assert.ok(
    script.includes(`rehost.pin=${daemon.pin}`) && script.includes(`rehost.orchestrator=127.0.0.1:${daemon.port}`),
  );
  assert.equal(await (await get('/boot/agent/initrd')).text(), 'the file agent/initrd');
  for (const path of [
    '/api/v1/machines',
    '/control/agent',
    '/boot/..%2f..%2fstate%2fstate.json',
    '/boot/agent/../../state/tls/ca.key',
  ]) {
    assert.equal((await get(path)).status, 404, path);
  }
});

void test('rehostd: each reason not to start is one clear error and an exit code', async (t) => {
  const place = await appliance(t);
  await place.start();
  const other = await appliance(t);
  const instead = (flags: string[], name: string, value: string): string[] =>
    flags.map((flag, at) => (flags[at - 1] === name ? value : flag));
  const refusals: [string[], number, string][] = [
    [place.flags, 1, 'STORE_LOCKED'],
    [instead(other.flags, '--http-port', String(place.httpPort)), 1, 'LISTEN_FAILED'],
    [instead(other.flags, '--socket', place.socket), 1, 'LISTEN_FAILED'],
    [instead(other.flags, '--images', join(other.folder, 'nothing')), 1, 'IMAGE_MISSING'],
    [[...other.flags, '--pxe-interface', 'rehost-none'], 1, 'PXE_UNAVAILABLE'],
    [[...other.flags, '--colour'], 2, 'CONFIG_INVALID'],
  ];
  for (const [flags, exit, code] of refusals) {
    await assert.rejects(startDaemon(flags), (error: Error & { exit?: number }) => {
      const text = error.message
        .split('\n')
        .filter((line) => !line.startsWith('{'))
        .join('\n');
      assert.match(text, new RegExp(`^rehostd: ${code}: [^\n]+\n  safe: [^\n]+\n  next: [^\n]+\n$`));
      assert.equal(error.exit, exit);
      return true;
    });
  }
  // The refused starts disturbed nobody, and left nothing that keeps the right one from starting.
  assert.equal((await rehost(place.socket, 'health')).code, 0);
  await other.start();
});

void test('rehostd: a damaged state file stops it and is kept as it is', async (t) => {
  const place = await appliance(t);
  await mkdir(join(place.folder, 'state'));
  const path = join(place.folder, 'state/state.json');
  await writeFile(path, '{"version":1,');
  await assert.rejects(place.start(), /^Error: rehostd: STORE_DAMAGED: /);
  assert.equal(await readFile(path, 'utf8'), '{"version":1,');
});
