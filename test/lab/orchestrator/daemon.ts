/** rehostd as a process of its own, and the `rehost` command as a person calls it. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { onExit } from '../cleanup.ts';

const ROOT = join(import.meta.dirname, '../../..');
/** Node's start, certificates and ports on a busy machine, ms. */
const START_LIMIT_MS = 60_000;

export interface Daemon {
  child: ChildProcess;
  port: number;
  httpPort: number;
  pin: string;
  /** Everything that it wrote to stderr. */
  said(): string;
  /** Sends a signal and waits for the end; answers the exit code, or the signal that ended it. */
  end(signal: NodeJS.Signals): Promise<number | NodeJS.Signals | null>;
}

/** Starts rehostd with these flags; resolves when it says that it runs, rejects with what it said when it ends before. */
export async function startDaemon(flags: string[]): Promise<Daemon> {
  const child = spawn(process.execPath, [join(ROOT, 'appliance/main.ts'), ...flags], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: process.env.PATH },
  });
  const exited = new Promise<number | NodeJS.Signals | null>((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? signal));
  });
  const kill = onExit('rehostd', async () => {
    child.kill('SIGKILL');
    await exited;
  });
  let said = '';
  const facts = await new Promise<{ port: number; httpPort: number; pin: string }>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`rehostd does not run: ${said}`)), START_LIMIT_MS);
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      const line = said.split('\n').find((one) => one.includes('"msg":"rehostd runs"'));
      if (line === undefined) return;
      clearTimeout(timer);
      resolve(JSON.parse(line));
    });
    void exited.then((how) => {
      clearTimeout(timer);
      reject(Object.assign(new Error(said), { exit: how }));
    });
  });
  return {
    child,
    ...facts,
    said: () => said,
    end: async (signal) => {
      child.kill(signal);
      const how = await exited;
      await kill();
      return how;
    },
  };
}

/** A TCP port of the loopback that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (typeof address !== 'object' || address === null) throw new Error('no port');
  return address.port;
}

export interface Run {
  code: number;
  out: string;
  err: string;
}

/** Calls the `rehost` script. */
export function rehost(socket: string, ...argv: string[]): Promise<Run> {
  return new Promise((resolve, reject) => {
    const script = join(ROOT, 'appliance/cli/rehost');
    execFile(script, [...argv, '--socket', socket], { timeout: START_LIMIT_MS }, (error, out, err) => {
      const code = error === null ? 0 : error.code;
      if (typeof code === 'number') resolve({ code, out, err });
      else reject(error);
    });
  });
}
