import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { listenTcp, listenUnix } from '../../../appliance/listen.ts';
import { atEnd, temporaryFolder } from '../../lab/orchestrator/folder.ts';

type Context = Parameters<typeof temporaryFolder>[0];

function server(t: Context) {
  const made = createServer();
  atEnd(t, async () => {
    made.close();
  });
  return made;
}

void test('listen: a port that is taken, and an address that is not ours, are LISTEN_FAILED', async (t) => {
  const port = await listenTcp(server(t), '127.0.0.1', 0);
  await assert.rejects(listenTcp(server(t), '127.0.0.1', port), {
    code: 'LISTEN_FAILED',
    message: new RegExp(`${port}`),
  });
  await assert.rejects(listenTcp(server(t), '192.0.2.1', 0), { code: 'LISTEN_FAILED', message: /192\.0\.2\.1/ });
});

void test('listen: a socket that answers is not taken away; a dead one and only a socket is replaced', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'a.sock');
  const mask = process.umask();
  await listenUnix(server(t), path);
  assert.equal(process.umask(), mask);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  await assert.rejects(listenUnix(server(t), path), { code: 'LISTEN_FAILED', message: /Another process/ });

  const dead = join(folder, 'dead.sock');
  const script =
    "require('node:net').createServer().listen(process.env.DEAD, () => process.kill(process.pid, 'SIGKILL'))";
  await once(spawn(process.execPath, ['-e', script], { env: { ...process.env, DEAD: dead } }), 'exit');
  assert.ok((await stat(dead)).isSocket());
  await listenUnix(server(t), dead);

  const file = join(folder, 'file');
  await writeFile(file, 'precious');
  await assert.rejects(listenUnix(server(t), file), { code: 'LISTEN_FAILED', message: /not a socket/ });
});
