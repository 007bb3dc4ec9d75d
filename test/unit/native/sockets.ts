/** Pairs of connected sockets on loopback, for tests in one thread. */
import {
  acceptOne,
  closeSocket,
  connect,
  listen,
  makeBlocking,
  POLLIN,
  pollSockets,
  tune,
} from '../../../native/socket.ts';

/** Two ends of one connection, both blocking by slices. The caller closes both. */
export function socketPair(host = '127.0.0.1'): [number, number] {
  const bound = listen(host, 0);
  const client = connect(host, bound.port, 5_000, () => {});
  pollSockets([{ fd: bound.fd, events: POLLIN }], 5_000);
  const server = acceptOne(bound.fd);
  closeSocket(bound.fd);
  if (server === undefined) throw new Error('The connection did not arrive.');
  tune(server);
  makeBlocking(server);
  return [client, server];
}
