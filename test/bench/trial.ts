/**
 * One run of one contender: its processes by the side they stand on, the clock, and the end of everything that it started.
 * CPU time is that of the processes of both sides with all their children, from `begin` to `figures`; memory is each side's
 * sum of VmHWM, looked at every POLL_MS, so that what a process takes in its last moments before it ends is not seen.
 */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { onExit } from '../lab/cleanup.ts';
import { busySeconds, cpuSeconds, descendants, endedChildrenSeconds, peakRssBytes } from './proc.ts';
import type { Side } from './site.ts';

const POLL_MS = 20;
/** A server has this long to be ready, and a process to end after its work, ms. */
const READY_MS = 30_000;
const ERROR_TEXT_MAX = 4096;

export type SideName = 'source' | 'sink';

/** What one run took. */
export interface Figures {
  /** From the order to copy to the end of the copy. */
  wallSeconds: number;
  /** User and system time of all processes of both sides. */
  cpuSeconds: number;
  /** CPU time of everything else meanwhile: kernel threads, as a loop device's, the bench itself, and strangers. */
  otherSeconds: number;
  sourceRssBytes: number;
  sinkRssBytes: number;
}

interface Watched {
  child: ChildProcess;
  pid: number;
  side: SideName;
  cpuBefore: number;
}

export interface StartOptions {
  env?: NodeJS.ProcessEnv | undefined;
  stdio?: StdioOptions;
}

export class Trial {
  readonly #watched: Watched[] = [];
  readonly #peaks = new Map<number, { side: SideName; bytes: number }>();
  readonly #errors = new Map<ChildProcess, string>();
  readonly #ended = new Map<ChildProcess, Promise<string>>();
  readonly #poll: NodeJS.Timeout;
  readonly #undo: () => Promise<void>;
  #beganAt = 0;
  #wall: number | undefined;
  #childrenBefore = 0;
  #busyBefore = 0;
  #busy = 0;

  constructor() {
    this.#poll = setInterval(() => this.#look(), POLL_MS);
    this.#undo = onExit('a run', () => this.#clean());
  }

  /** Starts a process of one side. It is ended with the trial at the latest. */
  start(side: SideName, where: Side, argv: readonly string[], options: StartOptions = {}): ChildProcess {
    const [file = '', ...args] = where.argv(argv);
    const child = spawn(file, args, {
      stdio: options.stdio ?? ['ignore', 'ignore', 'pipe'],
      env: { ...(options.env ?? process.env), LC_ALL: 'C' },
      serialization: 'advanced',
    });
    this.#errors.set(child, '');
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errors.set(child, ((this.#errors.get(child) ?? '') + text).slice(-ERROR_TEXT_MAX));
    });
    const ended = new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(error.message));
      child.once('close', (code, signal) => resolve(code === null ? `signal ${signal}` : `exit code ${code}`));
    });
    this.#ended.set(child, ended);
    if (child.pid !== undefined) this.#watched.push({ child, pid: child.pid, side, cpuBefore: 0 });
    return child;
  }

  /** Resolves when the process ended with 0. Rejects with its last words otherwise. */
  async success(child: ChildProcess): Promise<void> {
    const how = await this.#ended.get(child);
    if (how !== 'exit code 0') throw this.#failure(child, how ?? 'unknown');
  }

  /** Rejects when the process ends; for racing with what it should do before. */
  async death(child: ChildProcess): Promise<never> {
    const how = await this.#ended.get(child);
    throw this.#failure(child, how ?? 'unknown');
  }

  #failure(child: ChildProcess, how: string): Error {
    return new Error(`${child.spawnargs.slice(0, 6).join(' ')} ended with ${how}: ${this.#errors.get(child)?.trim()}`);
  }

  /** Waits for a server's pid file, which it writes when it listens. */
  async ready(server: ChildProcess, pidFile: string): Promise<void> {
    const waiting = async (): Promise<void> => {
      for (const end = performance.now() + READY_MS; performance.now() < end; ) {
        if (existsSync(pidFile)) return;
        await sleep(5);
      }
      throw new Error(`${server.spawnfile} was not ready after ${READY_MS} ms.`);
    };
    await Promise.race([waiting(), this.death(server)]);
  }

  /** The order to copy is given now. */
  begin(): void {
    for (const one of this.#watched) one.cpuBefore = this.#cpuOf(one);
    this.#childrenBefore = endedChildrenSeconds();
    this.#busyBefore = busySeconds();
    this.#beganAt = performance.now();
  }

  /** The copy is done now. */
  end(): void {
    this.#wall = (performance.now() - this.#beganAt) / 1000;
    this.#busy = busySeconds() - this.#busyBefore;
  }

  /** Of a copy that is done; its servers may still run. Waits until what they started is gone. */
  async figures(): Promise<Figures> {
    if (this.#wall === undefined) throw new Error('The copy was not timed.');
    for (const end = performance.now() + READY_MS; this.#watched.some(({ pid }) => descendants(pid).length > 0); ) {
      if (performance.now() > end) throw new Error('What a server started did not end after the copy.');
      await sleep(POLL_MS);
    }
    this.#look();
    const living = this.#watched.reduce((sum, one) => sum + Math.max(0, this.#cpuOf(one) - one.cpuBefore), 0);
    const cpu = living + endedChildrenSeconds() - this.#childrenBefore;
    const rss = (side: SideName): number =>
      [...this.#peaks.values()].reduce((sum, peak) => sum + (peak.side === side ? peak.bytes : 0), 0);
    return {
      wallSeconds: this.#wall,
      cpuSeconds: cpu,
      otherSeconds: Math.max(0, this.#busy - cpu),
      sourceRssBytes: rss('source'),
      sinkRssBytes: rss('sink'),
    };
  }

  /** Of a process that still runs; one that ended is among this process's ended children. */
  #cpuOf({ child, pid }: Watched): number {
    return child.exitCode === null && child.signalCode === null ? (cpuSeconds(pid) ?? 0) : 0;
  }

  #look(): void {
    for (const { pid, side } of this.#watched) {
      for (const one of [pid, ...descendants(pid)]) {
        const bytes = peakRssBytes(one);
        if (bytes !== undefined) this.#peaks.set(one, { side, bytes });
      }
    }
  }

  /** Ends every process of the trial. Idempotent. */
  clean(): Promise<void> {
    return this.#undo();
  }

  async #clean(): Promise<void> {
    clearInterval(this.#poll);
    for (const { child, pid } of this.#watched.toReversed()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      for (const one of descendants(pid)) end(one);
      child.kill('SIGKILL');
      await this.#ended.get(child);
    }
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    // It ended between the listing and now.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}
