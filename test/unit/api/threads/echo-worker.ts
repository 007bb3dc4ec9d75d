/** A thread that says when it was loaded, its work, and every message after it. */
import { parentPort } from 'node:worker_threads';
import { assignment } from '../../../../appliance/api/threads.ts';

const loadedAt = performance.timeOrigin + performance.now();
const work = await assignment<unknown>();
parentPort?.postMessage({ loadedAt, work });
parentPort?.on('message', (message: unknown) => {
  if (message === 'end') parentPort?.close();
  else parentPort?.postMessage(message);
});
