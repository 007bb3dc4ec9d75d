/** The orchestrator as a process in the lab, and the command line as a person would use it. */
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { JobView } from '../../appliance/api/rest.ts';
import { Client } from '../../appliance/cli/client.ts';
import { onExit } from '../lab/cleanup.ts';
import { runAny } from '../lab/command.ts';
import type { Lab } from '../lab/namespace.ts';

const REPOSITORY = resolve(import.meta.dirname, '../..');
const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 30_000;

export interface Appliance {
  /** State folder: job logs and screenshots are below it. */
  readonly state: string;
  readonly socket: string;
  /** Starts the orchestrator and waits until it answers. */
  start(): Promise<void>;
  /** SIGKILL: what a power cut or a crash is to the process. */
  kill(): Promise<void>;
  /** SIGTERM, then its end. */
  stop(): Promise<void>;
  /** One job as REST over the local socket tells it: asked often, so without a process each time. */
  job(id: string): Promise<JobView>;
  /** `rehost ... --json`: the parsed answer. Rejects with the error's text unless it exits with 0. */
  rehost<T>(...args: string[]): Promise<T>;
  /** `rehost ...`: what a person sees, and the exit code. */
  rehostText(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }>;
  log(): string;
}

export interface ApplianceOptions {
  libvirtUri: string;
  /** Folder of the built images. */
  images: string;
  acceleration?: 'auto' | 'tcg';
}

/** An orchestrator of this lab, not started yet. It is ended with the lab. */
export async function makeAppliance(lab: Lab, options: ApplianceOptions): Promise<Appliance> {
  const folder = join(lab.directory, 'appliance');
  const state = join(folder, 'state');
  const socket = join(folder, 'rehost.sock');
  const configPath = join(folder, 'config.json');
  const logPath = join(folder, 'rehostd.log');
  await mkdir(state, { recursive: true, mode: 0o700 });
  const config = {
    state,
    listen: '0.0.0.0',
    address: lab.address,
    socket,
    images: options.images,
    hypervisors: [
      {
        name: 'lab',
        uri: options.libvirtUri,
        pool: 'default',
        network: lab.bridge,
        transferNetwork: lab.bridge,
        isolatedNetwork: 'rehost-isolated',
        acceleration: options.acceleration ?? 'auto',
      },
    ],
    pxe: { interface: lab.bridge },
  };
  await writeFile(configPath, JSON.stringify(config, undefined, 2));
  const client = new Client(socket);
  let child: ChildProcess | undefined;

  const alive = () => child !== undefined && child.exitCode === null && child.signalCode === null;
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const ending = child;
    if (!ending || !alive()) return;
    const ended = new Promise<void>((resolve) => ending.once('exit', () => resolve()));
    ending.kill(signal);
    const late = sleep(STOP_LIMIT_MS, 'late', { ref: false });
    if ((await Promise.race([ended, late])) === 'late') {
      ending.kill('SIGKILL');
      await ended;
    }
  };
  const cli = (args: string[]) =>
    runAny(['sh', join(REPOSITORY, 'appliance/cli/rehost'), ...args, '--socket', socket], { timeoutMs: 120_000 });
  onExit('orchestrator', () => end('SIGTERM'));

  return {
    state,
    socket,
    async start() {
      const log = openSync(logPath, 'a');
      child = lab.spawn([process.execPath, join(REPOSITORY, 'appliance/main.ts'), '--config', configPath], {
        stdio: ['ignore', log, log],
      });
      closeSync(log);
      for (const deadline = Date.now() + START_LIMIT_MS; ; await sleep(250)) {
        if ((await cli(['health'])).code === 0) return;
        if (!alive() || Date.now() > deadline) {
          throw new Error(`the orchestrator did not start: ${readFileSync(logPath, 'utf8').slice(-2000)}`);
        }
      }
    },
    kill: () => end('SIGKILL'),
    stop: () => end('SIGTERM'),
    job: (id) => client.get(`/jobs/${id}`, JobView),
    async rehost<T>(...args: string[]): Promise<T> {
      const result = await cli([...args, '--json']);
      if (result.code !== 0)
        throw new Error(`rehost ${args.join(' ')} ended with ${result.code}: ${result.stdout}${result.stderr}`);
      return JSON.parse(result.stdout) as T;
    },
    rehostText: (...args) => cli(args),
    log: () => readFileSync(logPath, 'utf8'),
  };
}
