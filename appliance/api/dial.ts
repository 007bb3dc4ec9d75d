/**
 * How agents and receivers reach the orchestrator: WebSocket over TLS 1.3 with its CA pinned, again and again for ever.
 * The certificate is checked by ORCHESTRATOR_NAME, not by the address dialled, which may change.
 */
import type { ConnectionOptions } from 'node:tls';
import { type ClientOptions, WebSocket } from 'ws';
import { RehostError } from './errors.ts';
import { FRAME_MAX_BYTES } from './peer.ts';
import { ORCHESTRATOR_NAME, SILENCE_DEADLINE_MS } from './transfer.ts';

/** TCP, TLS and the WebSocket upgrade must be done by then, ms. Generous: a machine under emulation needs seconds for a handshake. */
const DIAL_DEADLINE_MS = 20_000;
const PING_INTERVAL_MS = 10_000;
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MAX_MS = 30_000;

export interface Endpoint {
  /** Name or address, IPv6 without brackets. */
  host: string;
  port: number;
  /** AGENT_PATH or RECEIVER_PATH. */
  path: string;
  /** The one certificate that may have signed the orchestrator's. */
  caPem: string;
}

/** An open channel. TRANSFER_FAILED when there is no answer, NOT_AUTHORISED when the other end is not the pinned orchestrator. */
export function dial(endpoint: Endpoint): Promise<WebSocket> {
  const host = endpoint.host.includes(':') ? `[${endpoint.host}]` : endpoint.host;
  // ws hands what it does not know itself on to tls.connect.
  const options: ClientOptions & ConnectionOptions = {
    ca: [endpoint.caPem],
    // Also the name that Node checks the certificate against.
    servername: ORCHESTRATOR_NAME,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
    handshakeTimeout: DIAL_DEADLINE_MS,
    maxPayload: FRAME_MAX_BYTES,
    // Frames are small and secrets travel in them: no compression.
    perMessageDeflate: false,
  };
  const socket = new WebSocket(`wss://${host}:${endpoint.port}${endpoint.path}`, options);
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => reject(explain(endpoint, error));
    socket.once('error', fail);
    socket.once('open', () => {
      socket.off('error', fail);
      watch(socket);
      resolve(socket);
    });
  });
}

/** Options of `stayConnected`. */
export interface Connection {
  /** Makes ready what a session needs, then dials. */
  open(): Promise<WebSocket>;
  /** Uses one channel until it closes; calls `established` once the orchestrator has accepted this end. Rejects when it was not. */
  session(socket: WebSocket, established: () => void): Promise<void>;
  /** Told of every end of a channel and every failed attempt, and when the next one follows, ms. */
  lost(error: unknown, retryMs: number): void;
  signal: AbortSignal;
}

/** Dials and runs `session` until `signal` aborts; waits 1 s after a failure, doubling to 30 s, and 1 s again after a session that was established. */
export async function stayConnected(connection: Connection): Promise<void> {
  const { signal } = connection;
  let backoffMs = BACKOFF_FIRST_MS;
  while (!signal.aborted) {
    try {
      const socket = await connection.open();
      const close = (): void => socket.close();
      signal.addEventListener('abort', close, { once: true });
      try {
        await connection.session(socket, () => {
          backoffMs = BACKOFF_FIRST_MS;
        });
      } finally {
        signal.removeEventListener('abort', close);
        socket.close();
      }
      if (!signal.aborted) throw new RehostError('TRANSFER_FAILED', 'The orchestrator closed the control channel.');
    } catch (error) {
      if (signal.aborted) return;
      connection.lost(error, backoffMs);
    }
    await sleep(backoffMs, signal);
    backoffMs = Math.min(backoffMs * 2, BACKOFF_MAX_MS);
  }
}

/** Drops a channel on which not even the answer to a ping comes: TCP alone would notice after many minutes. */
function watch(socket: WebSocket): void {
  let heardAt = performance.now();
  const heard = (): void => {
    heardAt = performance.now();
  };
  socket.on('pong', heard);
  socket.on('message', heard);
  const timer = setInterval(() => {
    if (performance.now() - heardAt > SILENCE_DEADLINE_MS) socket.terminate();
    else if (socket.readyState === WebSocket.OPEN) socket.ping();
  }, PING_INTERVAL_MS);
  socket.once('close', () => clearInterval(timer));
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const timer = setTimeout(end, ms);
    function end(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    }
    signal.addEventListener('abort', end);
  });
}

function explain(endpoint: Endpoint, error: Error): RehostError {
  const where = `${endpoint.host}:${endpoint.port}`;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  // Node's codes for a certificate that does not chain to the pinned CA or carries another name.
  const untrusted = /^(ERR_TLS_CERT|UNABLE_TO|SELF_SIGNED|DEPTH_ZERO|CERT_)/.test(code);
  if (untrusted)
    return new RehostError('NOT_AUTHORISED', `${where} is not the orchestrator that is pinned (${error.message}).`, {
      safe: 'Nothing was sent to it.',
      next: 'Start this machine again from the right orchestrator; if this repeats, someone answers in its place.',
      cause: error,
    });
  return new RehostError(
    'TRANSFER_FAILED',
    `The orchestrator at ${where} cannot be reached (${error.message.split('\n', 1)[0] || code}).`,
    {
      next: 'Check the network and that the orchestrator runs; this end goes on trying.',
      cause: error,
    },
  );
}
