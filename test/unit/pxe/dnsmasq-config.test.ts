import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { dnsmasqConfig } from '../../../appliance/pxe/dnsmasq-config.ts';
import { findInterface, networkOf } from '../../../appliance/pxe/interface.ts';

const CONFIG = dnsmasqConfig({
  interface: 'br-lan',
  network: '10.77.0.0',
  netmask: '255.255.255.0',
  ipxeDir: '/usr/lib/ipxe',
  scriptUrl: 'http://10.77.0.1:8480/boot/agent.ipxe',
});

void test('dnsmasq configuration: proxy only, no DNS, nothing written', () => {
  const lines = CONFIG.split('\n');
  assert.deepEqual(
    lines.filter((line) => line.startsWith('dhcp-range=')),
    ['dhcp-range=10.77.0.0,proxy,255.255.255.0'],
  );
  for (const line of ['port=0', 'bind-interfaces', 'leasefile-ro', 'pid-file=', 'user=nobody'])
    assert.ok(lines.includes(line), line);
});

void test('dnsmasq configuration: dnsmasq itself finds no fault in it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'rehost-unit-'));
  try {
    const path = join(folder, 'dnsmasq.conf');
    await writeFile(path, CONFIG);
    const { stderr } = await promisify(execFile)('/usr/sbin/dnsmasq', ['--test', `--conf-file=${path}`]);
    assert.match(stderr, /syntax check OK/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

void test('boot interface: network address under any netmask', () => {
  assert.equal(networkOf('10.77.0.1', '255.255.255.0'), '10.77.0.0');
  assert.equal(networkOf('192.168.203.77', '255.255.252.0'), '192.168.200.0');
  assert.equal(networkOf('172.16.5.4', '255.255.255.255'), '172.16.5.4');
});

void test('boot interface: one that is not there is named with those that are', () => {
  assert.throws(() => findInterface('no-such-if'), { code: 'PXE_UNAVAILABLE', message: /no interface 'no-such-if'/ });
  assert.throws(() => findInterface('__proto__'), { code: 'PXE_UNAVAILABLE' });
});
