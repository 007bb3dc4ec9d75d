import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import Fastify, { type FastifyInstance } from 'fastify';
import { registerBootFiles } from '../../../appliance/pxe/boot-files.ts';

const FACTS = {
  orchestrator: { host: '10.77.0.1', port: 8443 },
  boot: { host: '10.77.0.1', port: 8480 },
  pin: 'ab'.repeat(32),
  caPem: '-----BEGIN CERTIFICATE-----\n',
};
let folder: string;
let app: FastifyInstance;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rehost-unit-'));
  await mkdir(join(folder, 'agent'));
  await writeFile(join(folder, 'agent', 'vmlinuz'), Buffer.alloc(300_000, 7));
  await writeFile(join(folder, 'secret'), 'not to be read');
  app = Fastify();
  registerBootFiles(app, { ...FACTS, imageDir: folder });
});
after(async () => {
  await app.close();
  await rm(folder, { recursive: true });
});

void test('boot files: the kernel comes whole, with its length', async () => {
  const reply = await app.inject('/boot/agent/vmlinuz');
  assert.equal(reply.statusCode, 200);
  assert.equal(reply.headers['content-length'], '300000');
  assert.deepEqual(reply.rawPayload, Buffer.alloc(300_000, 7));
});

void test('boot files: script and certificate are served as they are', async () => {
  const script = await app.inject('/boot/agent.ipxe');
  assert.match(script.body, /^#!ipxe\n/);
  assert.match(script.body, new RegExp(`rehost\\.pin=${FACTS.pin}`));
  assert.equal((await app.inject('/boot/ca.pem')).body, FACTS.caPem);
});

void test('boot files: an image that is missing or empty is IMAGE_MISSING, then served once it is there', async () => {
  const path = join(folder, 'agent', 'initrd');
  const missing = await app.inject('/boot/agent/initrd');
  assert.equal(missing.json().code, 'IMAGE_MISSING');
  await writeFile(path, '');
  assert.equal((await app.inject('/boot/agent/initrd')).json().code, 'IMAGE_MISSING');
  await writeFile(path, 'initramfs');
  assert.equal((await app.inject('/boot/agent/initrd')).body, 'initramfs');
});

void test('boot files: no path leads out of the table', async () => {
  for (const path of [
    '/boot/agent/../secret',
    '/boot/agent/..%2fsecret',
    '/boot/agent/%2e%2e/secret',
    '/boot/agent/..\\secret',
    '/boot//agent/vmlinuz',
    '/boot/agent/',
    '/boot/agent/vmlinuz/x',
    '/boot/agent/vmlinuz%00',
    '/secret',
  ]) {
    const reply = await app.inject(path);
    assert.ok(reply.statusCode >= 400 && reply.statusCode < 500, `${path} got ${reply.statusCode}`);
    assert.doesNotMatch(reply.body, /not to be read/);
  }
  assert.equal((await app.inject({ method: 'POST', url: '/boot/agent/vmlinuz' })).statusCode, 404);
});

void test('boot files: facts that do not fit are refused before anything is served', () => {
  const options = { ...FACTS, imageDir: folder, pin: 'short' };
  assert.throws(() => registerBootFiles(Fastify(), options), { code: 'REQUEST_INVALID' });
});
