/**
 * One end of a control channel: sends requests with a deadline, answers the other end's, checks every frame.
 * Knows nothing of WebSocket servers or clients: it is given something that sends and receives text.
 */
import type { Static } from 'typebox';
import { Check, Errors } from 'typebox/value';
import { Frame, type Methods, type ParamsOf, type ResultOf } from './control.ts';
import { fromWire, RehostError, toWire } from './errors.ts';

/** What a peer needs of a WebSocket. `ws` sockets on both sides satisfy it. */
export interface PeerSocket {
  send(text: string): void;
  close(code?: number, reason?: string): void;
  on(event: 'message', listener: (data: { toString(): string }) => void): unknown;
  on(event: 'close', listener: () => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
}

/** Handlers for the methods that this end answers. */
export type Handlers<M extends Methods> = {
  [K in keyof M]: (params: ParamsOf<M, K>) => ResultOf<M, K> | Promise<ResultOf<M, K>>;
};

/** A frame larger than this closes the channel, bytes: an inventory of a large machine is some 100 KiB. */
export const FRAME_MAX_BYTES = 4 * 1024 * 1024;
const DEADLINE_DEFAULT_MS = 15_000;
const CLOSE_PROTOCOL_ERROR = 1002;

interface Waiting {
  method: string;
  resolve(result: unknown): void;
  reject(error: Error): void;
  timer: NodeJS.Timeout;
}

/** `Asks` are the methods that this end calls, `Answers` those that it serves. */
export class Peer<Asks extends Methods, Answers extends Methods> {
  readonly closed: Promise<void>;
  #nextId = 1;
  readonly #waiting = new Map<number, Waiting>();
  #open = true;
  readonly #socket: PeerSocket;
  readonly #asks: Asks;
  readonly #answers: Answers;
  readonly #handlers: Handlers<Answers>;

  constructor(socket: PeerSocket, asks: Asks, answers: Answers, handlers: Handlers<Answers>) {
    this.#socket = socket;
    this.#asks = asks;
    this.#answers = answers;
    this.#handlers = handlers;
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.#end();
        resolve();
      });
    });
    // An error is always followed by 'close'; without a listener Node would end the process.
    socket.on('error', () => this.#end());
    socket.on('message', (data) => this.#receive(data.toString()));
  }

  /** Is the channel still open? */
  get open(): boolean {
    return this.#open;
  }

  /** Asks the other end. Rejects with the other end's RehostError, with TIMEOUT after `deadlineMs`, or with TRANSFER_FAILED when the channel closes. */
  async request<K extends keyof Asks & string>(
    method: K,
    params: ParamsOf<Asks, K>,
    deadlineMs: number = DEADLINE_DEFAULT_MS,
  ): Promise<ResultOf<Asks, K>> {
    if (!this.#open)
      throw new RehostError('TRANSFER_FAILED', `The control channel is closed; '${method}' was not asked.`);
    const id = this.#nextId++;
    const result = await new Promise<unknown>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new RehostError('TIMEOUT', `No answer to '${method}' within ${deadlineMs} ms.`));
      }, deadlineMs);
      this.#waiting.set(id, { method, resolve, reject, timer });
      this.#send({ type: 'request', id, method, deadlineMs, params });
    });
    const schema = this.#asks[method]?.result;
    if (!schema || !Check(schema, result))
      throw new RehostError('PROTOCOL_VIOLATION', `The answer to '${method}' does not fit its schema.`);
    return result as ResultOf<Asks, K>;
  }

  /** Closes the channel; what waits is rejected. */
  close(): void {
    this.#socket.close();
    this.#end();
  }

  #send(frame: Static<typeof Frame>): void {
    this.#socket.send(JSON.stringify(frame));
  }

  #end(): void {
    this.#open = false;
    for (const waiting of this.#waiting.values()) {
      clearTimeout(waiting.timer);
      waiting.reject(
        new RehostError('TRANSFER_FAILED', `The control channel closed before '${waiting.method}' was answered.`),
      );
    }
    this.#waiting.clear();
  }

  #receive(text: string): void {
    const frame = parseFrame(text);
    if (!frame) {
      this.#socket.close(CLOSE_PROTOCOL_ERROR, 'not a frame');
      this.#end();
      return;
    }
    if (frame.type === 'request') {
      void this.#answer(frame.id, frame.method, frame.params);
      return;
    }
    const waiting = this.#waiting.get(frame.id);
    // An answer that comes after its deadline has no one waiting: it is dropped on purpose.
    if (!waiting) return;
    this.#waiting.delete(frame.id);
    clearTimeout(waiting.timer);
    if (frame.type === 'error') waiting.reject(fromWire(frame.error));
    else waiting.resolve(frame.result);
  }

  async #answer(id: number, method: string, params: unknown): Promise<void> {
    let frame: Static<typeof Frame>;
    try {
      const schema = Object.hasOwn(this.#answers, method) ? this.#answers[method] : undefined;
      // The schema's check below is what makes this cast true.
      const handler = (Object.hasOwn(this.#handlers, method) ? this.#handlers[method] : undefined) as
        | ((params: unknown) => unknown)
        | undefined;
      if (!schema || !handler) throw new RehostError('REQUEST_INVALID', `There is no method '${method}'.`);
      if (!Check(schema.params, params)) {
        const first = Errors(schema.params, params)[0];
        throw new RehostError(
          'REQUEST_INVALID',
          `'${method}': ${first?.instancePath ?? ''} ${first?.message ?? 'does not fit'}.`,
        );
      }
      frame = { type: 'response', id, result: await handler(params) };
    } catch (error) {
      frame = { type: 'error', id, error: toWire(error) };
    }
    if (this.#open) this.#send(frame);
  }
}

function parseFrame(text: string): Frame | undefined {
  if (text.length > FRAME_MAX_BYTES) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return Check(Frame, value) ? value : undefined;
  } catch {
    // Not JSON: the caller closes the channel.
    return undefined;
  }
}
