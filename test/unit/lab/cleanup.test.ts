import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';

const MAIN = join(import.meta.dirname, 'cleanup-child', 'main.ts');
const EXPECTED = ['undone in time', 'ready', 'undone third', 'undone first'];

interface Ended {
  lines: string[];
  stderr: string;
  code: number | null;
  signal: NodeJS.Signals | null;
}

async function child(mode: 'wait' | 'end' | 'close', signal?: NodeJS.Signals): Promise<Ended> {
  const process_ = spawn(process.execPath, [MAIN, mode], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  process_.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    if (signal && text.includes('ready')) process_.kill(signal);
  });
  process_.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  await once(process_, 'close');
  return { lines: stdout.trim().split('\n'), stderr, code: process_.exitCode, signal: process_.signalCode };
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  void test(`cleanup: ${signal} undoes everything once, last first, and then ends the process`, async () => {
    const ended = await child('wait', signal);
    assert.deepEqual(ended.lines, EXPECTED);
    assert.equal(ended.signal, signal);
    assert.match(ended.stderr, /cleanup of second failed: refused/);
    assert.match(ended.stderr, new RegExp(`after ${signal}: the work broke`));
  });
}

void test('cleanup: what the failing work has begun to close itself is waited for', async () => {
  const ended = await child('close', 'SIGINT');
  assert.deepEqual(ended.lines, EXPECTED);
  assert.equal(ended.signal, 'SIGINT');
});

void test('cleanup: what is still registered when nothing is left to do is undone', async () => {
  const ended = await child('end');
  assert.deepEqual(ended.lines, EXPECTED);
  assert.equal(ended.code, 0);
});
