/** REST over rehostd's unix socket. Answers are checked against their schemas. */
import { request } from 'node:http';
import type { Static, TSchema } from 'typebox';
import { Check } from 'typebox/value';
import { fromWire, isErrorCode, RehostError } from '../api/errors.ts';
import { API_PREFIX } from '../api/rest.ts';

/** An order's preflight connects to the hypervisor, ms. */
const DEADLINE_MS = 120_000;
/** A job's log can be long; more than this is not held in memory. */
const ANSWER_MAX_BYTES = 256 * 1024 * 1024;

interface Answer {
  status: number;
  body: Buffer;
}

export class Client {
  readonly #socketPath: string;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  async get<S extends TSchema>(path: string, schema: S): Promise<Static<S>> {
    return fit(await this.#ask('GET', path), schema);
  }

  async post<S extends TSchema>(path: string, body: object | undefined, schema: S): Promise<Static<S>> {
    return fit(await this.#ask('POST', path, body), schema);
  }

  async patch<S extends TSchema>(path: string, body: object, schema: S): Promise<Static<S>> {
    return fit(await this.#ask('PATCH', path, body), schema);
  }

  async delete<S extends TSchema>(path: string, schema: S): Promise<Static<S>> {
    return fit(await this.#ask('DELETE', path), schema);
  }

  /** The answer as it is: a log, a screenshot. */
  async bytes(path: string): Promise<Buffer> {
    return (await this.#ask('GET', path)).body;
  }

  async #ask(method: string, path: string, body?: object): Promise<Answer> {
    const answer = await this.#exchange(method, path, body === undefined ? undefined : JSON.stringify(body));
    if (answer.status < 400) return answer;
    const error = parse(answer.body);
    if (isWireError(error)) throw fromWire(error);
    throw new RehostError('PROTOCOL_VIOLATION', `rehostd answered ${answer.status} without an error of its own.`);
  }

  #exchange(method: string, path: string, body: string | undefined): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const headers = body === undefined ? {} : { 'content-type': 'application/json' };
      const options = { socketPath: this.#socketPath, method, path: API_PREFIX + path, headers };
      const asked = request({ ...options, signal: AbortSignal.timeout(DEADLINE_MS) }, (response) => {
        const parts: Buffer[] = [];
        let bytes = 0;
        response.on('data', (part: Buffer) => {
          bytes += part.length;
          parts.push(part);
          if (bytes > ANSWER_MAX_BYTES) response.destroy(new Error(`more than ${ANSWER_MAX_BYTES} bytes`));
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(parts) }));
        response.on('error', (error) => reject(this.#unreachable(error)));
      });
      asked.on('error', (error) => reject(this.#unreachable(error)));
      asked.end(body);
    });
  }

  #unreachable(cause: Error): RehostError {
    if (cause.name === 'TimeoutError') {
      return new RehostError('TIMEOUT', `rehostd did not answer within ${DEADLINE_MS} ms.`, { cause });
    }
    const why = cause.message || String(cause);
    return new RehostError('ORCHESTRATOR_UNREACHABLE', `Cannot talk to rehostd at ${this.#socketPath}: ${why}.`, {
      cause,
    });
  }
}

/** A part of a path, made of what a person typed. */
export function segment(text: string): string {
  // '.' and '..' mean something in a path even when they are escaped; they name nothing here.
  if (text === '' || text === '.' || text === '..') throw new RehostError('NOT_FOUND', `'${text}' names nothing.`);
  return encodeURIComponent(text);
}

function fit<S extends TSchema>(answer: Answer, schema: S): Static<S> {
  const value = answer.status === 204 ? null : parse(answer.body);
  if (Check(schema, value)) return value;
  throw new RehostError('PROTOCOL_VIOLATION', 'The answer of rehostd does not fit its schema.');
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch (cause) {
    throw new RehostError('PROTOCOL_VIOLATION', 'The answer of rehostd is not JSON.', { cause });
  }
}

function isWireError(value: unknown): value is { code: string; message: string; safe: string; next: string } {
  if (typeof value !== 'object' || value === null) return false;
  const { code, message, safe, next } = value as Record<string, unknown>;
  return isErrorCode(code) && [message, safe, next].every((part) => typeof part === 'string');
}
