import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Worker } from 'node:worker_threads';
import { Threads } from '../../../appliance/api/threads.ts';

const module = join(import.meta.dirname, 'threads', 'any.ts');

/** The thread's first word. */
async function first(worker: Worker): Promise<{ loadedAt: number; work: unknown }> {
  const [message] = (await once(worker, 'message')) as [{ loadedAt: number; work: unknown }];
  return message;
}

async function end(worker: Worker): Promise<void> {
  const gone = once(worker, 'exit');
  worker.postMessage('end');
  await gone;
}

void test('a thread that was prepared is loaded before its work, and each is taken once', async () => {
  const threads = new Threads(module);
  await threads.prepare('echo', 2);
  const began = performance.timeOrigin + performance.now();
  const workers = ['a', 'b', 'c'].map((work) => threads.start('echo', work));
  const words = await Promise.all(workers.map(first));
  assert.deepEqual(
    words.map(({ work }) => work),
    ['a', 'b', 'c'],
  );
  assert.deepEqual(
    words.map(({ loadedAt }) => loadedAt < began),
    [true, true, false],
  );
  assert.equal(new Set(workers.map(({ threadId }) => threadId)).size, 3);
  await Promise.all(workers.map(end));
});

void test('what is said right after the work arrives, in order', async () => {
  const threads = new Threads(module);
  for (const prepared of [0, 1]) {
    await threads.prepare('echo', prepared);
    const worker = threads.start('echo', 0);
    const heard: unknown[] = [];
    const three = new Promise<void>((resolve) => {
      worker.on('message', (message) => {
        heard.push(message);
        if (heard.length === 4) resolve();
      });
    });
    for (const message of [1, 2, 3]) worker.postMessage(message);
    await three;
    assert.deepEqual(heard.slice(1), [1, 2, 3]);
    await end(worker);
  }
});

void test('a thread that cannot be loaded is told to who starts it, not to who prepares it', async () => {
  const threads = new Threads(module);
  await threads.prepare('broken', 2);
  const [error] = await once(threads.start('broken', 1), 'error');
  assert.match(String(error), /it cannot be loaded/);
});

void test('threads that nobody took are ended, and others are loaded in their place', async () => {
  const threads = new Threads(module);
  await threads.prepare('echo', 1);
  await threads.drop();
  await threads.drop();
  const began = performance.timeOrigin + performance.now();
  const worker = threads.start('echo', 'new');
  assert.ok((await first(worker)).loadedAt >= began);
  await end(worker);
});
