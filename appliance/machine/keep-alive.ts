/** Finds control channels whose other end is gone: TCP alone would notice after many minutes. */
import type { WebSocket } from 'ws';
import { SILENCE_DEADLINE_MS } from '../api/transfer.ts';

const PING_INTERVAL_MS = 10_000;
/** Answers that the other end does not read pile up here; a healthy one reads them at once. Bytes. */
const UNREAD_MAX_BYTES = 8 * 1024 * 1024;

/** Pings until the socket closes; ends one that is silent for SILENCE_DEADLINE_MS or does not read what it is sent. */
export function keepAlive(socket: WebSocket): void {
  let heardAt = performance.now();
  const heard = (): void => {
    heardAt = performance.now();
  };
  socket.on('pong', heard);
  socket.on('message', heard);
  const timer = setInterval(() => {
    const silent = performance.now() - heardAt > SILENCE_DEADLINE_MS;
    if (silent || socket.bufferedAmount > UNREAD_MAX_BYTES) socket.terminate();
    else if (socket.readyState === socket.OPEN) socket.ping();
  }, PING_INTERVAL_MS);
  socket.once('close', () => clearInterval(timer));
}
