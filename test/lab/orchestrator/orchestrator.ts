/** The whole orchestrator in this process: real store, certificates, servers and job engine; no hypervisor can be reached. */
import { request } from 'node:http';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import type { TestContext } from 'node:test';
import { RehostError } from '../../../appliance/api/errors.ts';
import { CONFIG_DEFAULTS } from '../../../appliance/config.ts';
import { makeLog } from '../../../appliance/http.ts';
import { type Running, startOrchestrator } from '../../../appliance/server.ts';
import { atEnd, temporaryFolder } from './folder.ts';

export interface TestOrchestrator extends Running {
  state: string;
  socket: string;
  /** Everything that was logged. */
  logged(): string;
}

/** Starts one that the test's end stops. `prepare` may write into the state folder before. */
export async function orchestrator(
  t: TestContext,
  options: { folder?: string; prepare?(state: string): Promise<void> } = {},
): Promise<TestOrchestrator> {
  const folder = options.folder ?? (await temporaryFolder(t));
  const state = join(folder, 'state');
  const socket = join(folder, 'run', 'rehost.sock');
  await options.prepare?.(state);
  const stream = new PassThrough();
  let text = '';
  stream.on('data', (part: Buffer) => {
    text += part.toString();
  });
  const running = await startOrchestrator(
    { ...CONFIG_DEFAULTS, state, listen: '127.0.0.1', port: 0, httpPort: 0, socket, images: folder },
    {
      connect: async () => {
        throw new RehostError('HYPERVISOR_UNREACHABLE', 'No hypervisor runs in this test.');
      },
      networkBoot: { registerFiles: () => {}, start: async () => async () => {} },
      log: makeLog(stream),
    },
  );
  atEnd(t, () => running.close());
  return { ...running, state, socket, logged: () => text };
}

export interface Answer {
  status: number;
  type: string;
  text: string;
  json(): unknown;
}

/** One request over the unix socket. `body` is sent as it is where it is text, else as JSON. */
export function ask(socketPath: string, method: string, path: string, body?: unknown): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-type': 'application/json' };
    const asked = request({ socketPath, method, path, headers, agent: false }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('end', () => {
        const text = Buffer.concat(parts).toString('utf8');
        const type = response.headers['content-type'] ?? '';
        resolve({ status: response.statusCode ?? 0, type, text, json: () => JSON.parse(text) });
      });
    });
    asked.on('error', reject);
    asked.end(body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body));
  });
}

/** Waits until the condition holds; fails after `limitMs`. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMs = 20_000,
): Promise<void> {
  const end = Date.now() + limitMs;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
