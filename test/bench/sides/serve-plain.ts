/**
 * The agent's server without TLS, which the product does not have: its own negotiation, transmission and disk reader, one
 * thread per connection, over a plain stream. To compare what is left when encryption is taken away.
 */
import { Threads } from '../../../appliance/api/threads.ts';
import { listen } from '../../../native/socket.ts';
import type { SourceOrder } from './orders.ts';
import { failed } from './report.ts';

type PlainOrder = Extract<SourceOrder, { kind: 'serve-plain' }>;

/** The work of plain-worker.ts. */
export interface PlainWork extends PlainOrder {
  listenFd: number;
}

/** Loads and starts the threads; they run until the process ends. Returns the port. */
export async function servePlain(order: PlainOrder): Promise<number> {
  const { fd, port } = listen(order.host, 0);
  const threads = new Threads(import.meta.filename);
  await threads.prepare('plain', order.connections);
  for (let i = 0; i < order.connections; i++) {
    const work: PlainWork = { ...order, listenFd: fd };
    threads.start('plain', work).on('error', failed);
  }
  return port;
}
