/** A libvirt connection in a process of its own. libvirt's built-in test driver answers; no daemon and no root are needed. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { LibvirtConnection } from '../../../native/libvirt/connection.ts';
import { LibvirtError, VIR_ERR } from '../../../native/libvirt/error.ts';

/** Pids of this process's children. */
async function children(): Promise<number[]> {
  const text = await readFile(`/proc/self/task/${process.pid}/children`, 'utf8');
  return text.trim().split(' ').filter(Boolean).map(Number);
}

void test('hypervisor-connection: calls are answered in order and end with the connection', async () => {
  const connection = new LibvirtConnection('test:///default');
  const answers = await Promise.all([
    connection.call('type', []),
    connection.call('domainList', [0]),
    connection.call('poolList', [0]),
    connection.call('networkList', []),
  ]);
  assert.deepEqual(answers, ['TEST', ['test'], ['default-pool'], [{ name: 'default', active: true }]]);
  assert.deepEqual(await connection.call('domainState', ['test']), { state: 1, reason: 0 });
  assert.match(await connection.call('domainXml', ['test', 0]), /<name>test<\/name>/);
  await connection.close();
  await connection.close();
  assert.deepEqual(await children(), []);
  await assert.rejects(connection.call('type', []), { lost: true });
});

void test('hypervisor-connection: an error carries libvirt code, domain, call and words', async () => {
  const connection = new LibvirtConnection('test:///default');
  try {
    await assert.rejects(connection.call('domainState', ['none']), (error) => {
      assert.ok(error instanceof LibvirtError);
      // VIR_FROM_TEST is 12.
      assert.deepEqual(error.facts(), {
        code: VIR_ERR.NO_DOMAIN,
        domain: 12,
        message: error.message,
        call: 'virDomainLookupByName',
        errno: 0,
        lost: false,
      });
      assert.match(error.message, /Domain not found/);
      return true;
    });
    await assert.rejects(connection.call('domainDefine', ['<domain', 0]), { call: 'virDomainDefineXMLFlags' });
    assert.equal(await connection.call('type', []), 'TEST');
  } finally {
    await connection.close();
  }
});

void test('hypervisor-connection: where nobody listens it says so with the errno', async () => {
  const connection = new LibvirtConnection('qemu+unix:///system?socket=/nonexistent/socket');
  try {
    // ENOENT is 2.
    await assert.rejects(connection.call('type', []), { code: VIR_ERR.SYSTEM_ERROR, errno: 2, lost: true });
  } finally {
    await connection.close();
  }
});

void test('hypervisor-connection: a process that dies fails its call, and the next call gets a new one', async () => {
  const connection = new LibvirtConnection('test:///default');
  try {
    assert.equal(await connection.call('type', []), 'TEST');
    const [before] = await children();
    assert.ok(before !== undefined);
    process.kill(before, 'SIGSTOP');
    const asked = connection.call('hostname', []);
    process.kill(before, 'SIGKILL');
    await assert.rejects(asked, { code: VIR_ERR.RPC, lost: true, message: /SIGKILL/ });
    assert.equal(await connection.call('type', []), 'TEST');
    const [now] = await children();
    assert.notEqual(now, before);
  } finally {
    await connection.close();
  }
});

void test('hypervisor-connection: a host that never answers costs its deadline and blocks nothing else', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'rehost-silent-'));
  const path = join(folder, 'socket');
  const accepted: Socket[] = [];
  const server = createServer((socket) => accepted.push(socket)).listen(path);
  const connection = new LibvirtConnection(`qemu+unix:///system?socket=${path}`);
  let ticks = 0;
  const ticker = setInterval(() => ticks++, 10);
  try {
    await assert.rejects(connection.call('type', [], 1500), { code: VIR_ERR.OPERATION_TIMEOUT, lost: true });
    assert.equal(accepted.length, 1, 'it was connected');
    assert.ok(ticks > 20, `the event loop turned only ${ticks} times`);
  } finally {
    clearInterval(ticker);
    await connection.close();
    for (const socket of accepted) socket.destroy();
    server.close();
    await rm(folder, { recursive: true, force: true });
  }
  assert.deepEqual(await children(), []);
});
