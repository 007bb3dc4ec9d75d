/**
 * The agent's server without TLS, which the product does not have: its own negotiation, transmission and disk reader, one
 * thread per connection, over a plain stream. To compare what is left when encryption is taken away.
 */
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { listen } from '../../../native/socket.ts';
import type { SourceOrder } from './orders.ts';
import { failed } from './report.ts';

type PlainOrder = Extract<SourceOrder, { kind: 'serve-plain' }>;

/** workerData of plain-worker.ts. */
export interface PlainWork extends PlainOrder {
  listenFd: number;
}

/** Starts the threads; they run until the process ends. Returns the port. */
export function servePlain(order: PlainOrder): number {
  const { fd, port } = listen(order.host, 0);
  const url = new URL(`./plain-worker${extname(import.meta.filename)}`, import.meta.url);
  for (let i = 0; i < order.connections; i++) {
    const work: PlainWork = { ...order, listenFd: fd };
    new Worker(url, { workerData: work }).on('error', failed);
  }
  return port;
}
