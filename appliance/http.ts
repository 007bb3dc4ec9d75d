/** The HTTP servers' common frame: limits, error answers, schema checks that change nothing. */
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import websocket from '@fastify/websocket';
import Fastify, { type FastifyBaseLogger, LogController } from 'fastify';
import { RehostError, toWire } from './api/errors.ts';
import { answerErrors, replyWithError } from './error-reply.ts';
import { Places } from './machine/places.ts';

/** The largest order is far below. */
const BODY_MAX_BYTES = 64 * 1024;
const CONNECTIONS_MAX = 1024;
/**
 * One machine needs a channel and a few requests. The rest is for those behind one router. Channels that no person has approved are
 * far fewer: those that prove nothing (routes/control.ts) and those that wait (machine/waiting-room.ts) are bounded for themselves.
 */
const CONNECTIONS_PER_ADDRESS = 64;
/**
 * Below the contract's bound, since strangers send frames too and each open channel can make us hold one. The largest frame is an
 * inventory, which INVENTORY_MAX_BYTES keeps far below.
 */
const FRAME_RECEIVED_MAX_BYTES = 1024 * 1024;
const HEADERS_DEADLINE_MS = 10_000;
const REQUEST_DEADLINE_MS = 30_000;
/** Generous: a source machine under emulation needs seconds for a handshake. */
const TLS_DEADLINE_MS = 30_000;
/** An open channel's other end has this long to answer our close, then it is cut off. */
const CLOSE_DEADLINE_MS = 1_000;
const CLOSE_GOING_AWAY = 1001;

export interface ServerKind {
  /** Server certificate's chain and key, for HTTPS; plain HTTP where left out. */
  tls?: { cert: string; key: string };
  log: FastifyBaseLogger;
}

/** One JSON object per line to the stream; Fastify's own pino, so that everything logs in one form. */
export function makeLog(stream: NodeJS.WritableStream): FastifyBaseLogger {
  return Fastify({ logger: { stream: { write: (line) => void stream.write(line) } } }).log;
}

/** A Fastify instance with nothing registered but the frame. */
export async function makeApp(kind: ServerKind) {
  const app = Fastify({
    loggerInstance: kind.log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: BODY_MAX_BYTES,
    routerOptions: { maxParamLength: 256 },
    // What is wrong is refused, not repaired: unknown fields are not dropped, strings do not become numbers.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, useDefaults: false, allErrors: false } },
    serverFactory: (handler) => {
      const server = kind.tls
        ? https.createServer({ ...kind.tls, minVersion: 'TLSv1.3', handshakeTimeout: TLS_DEADLINE_MS }, handler)
        : http.createServer(handler);
      server.headersTimeout = HEADERS_DEADLINE_MS;
      server.requestTimeout = REQUEST_DEADLINE_MS;
      server.maxConnections = CONNECTIONS_MAX;
      boundConnections(server, kind.log);
      return server;
    },
    clientErrorHandler: (error, socket) => {
      if (!socket.writable) return;
      const body = JSON.stringify(toWire(new RehostError('REQUEST_INVALID', `This is not HTTP: ${error.message}.`)));
      const head = `HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}`;
      socket.end(`${head}\r\nConnection: close\r\n\r\n${body}`);
    },
    frameworkErrors: (error, request, reply) => void replyWithError(error, request, reply),
  }).withTypeProvider<TypeBoxTypeProvider>();
  answerErrors(app);
  // Answers are typed by their schemas at compile time; serialising by schema would drop fields in silence.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  await app.register(websocket, {
    // Frames are small and secrets travel in them: no compression.
    options: { maxPayload: FRAME_RECEIVED_MAX_BYTES, perMessageDeflate: false },
    // The socket's own 'close' follows; its listeners do what is to be done.
    errorHandler: (error, socket, request) => {
      request.log.warn({ err: error }, 'a WebSocket broke');
      socket.terminate();
    },
    preClose(done) {
      for (const socket of this.websocketServer.clients) {
        socket.close(CLOSE_GOING_AWAY, 'the orchestrator stops');
        const timer = setTimeout(() => socket.terminate(), CLOSE_DEADLINE_MS);
        socket.once('close', () => clearTimeout(timer));
      }
      this.websocketServer.close(() => done());
    },
  });
  // Whoever opens the server's socket (listen.ts) does it without Fastify, which then does not close it either.
  app.addHook('onClose', async () => {
    if (!app.server.listening) return;
    const closed = once(app.server, 'close');
    app.server.close();
    app.server.closeAllConnections();
    await closed;
  });
  return app;
}

/** Closes connections beyond what one address may have. A unix socket's callers have no address and are bounded by its mode. */
function boundConnections(server: http.Server | https.Server, log: FastifyBaseLogger): void {
  const places = new Places(CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS);
  server.prependListener('connection', (socket: Socket) => {
    const address = socket.remoteAddress;
    if (address === undefined) return;
    const leave = places.enter(address);
    if (leave) {
      socket.once('close', leave);
      return;
    }
    log.warn({ address }, 'too many connections from one address; one more was closed');
    socket.destroy();
  });
}

export type App = Awaited<ReturnType<typeof makeApp>>;
