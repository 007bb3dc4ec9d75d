/** Both ends of a transfer as processes of their own, which can be killed: started, asked and ended over node's channel to them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { ExportOptions, ExportStatus } from '../../../agent/export/serve.ts';
import type { CopyOptions, CopySession, CopyStatus } from '../../../receiver/copy/copy.ts';
import type { VerifyStatus } from '../../../receiver/copy/verify.ts';
import { peakRssBytes } from '../../bench/proc.ts';
import { kill, type Lab } from './transfer-lab.ts';

/** An order as text: the token as hex. */
export type Written<T> = Omit<T, 'token'> & { token: string };
export type SourceOrder = Written<ExportOptions>;
export type SinkOrder = Written<CopyOptions>;

export interface Question {
  id: number;
  call: 'status' | 'verify' | 'tune';
  params?: unknown;
}
/** Without an id: the process is ready. */
export interface Answer {
  id?: number;
  result?: unknown;
  error?: string;
}

export interface Place {
  namespace?: string;
  program?: string;
}

const SOURCE = join(import.meta.dirname, 'source-process.ts');
const SINK = join(import.meta.dirname, 'sink-process.ts');

/** A running end. */
abstract class End {
  readonly #child: ChildProcess;
  readonly #open = new Map<number, { resolve: (result: unknown) => void; reject: (error: Error) => void }>();
  readonly ready: Promise<unknown>;
  #next = 0;

  constructor(lab: Lab, entry: string, order: unknown, namespace?: string) {
    const argv = [process.execPath, entry, JSON.stringify(order)];
    const [file, args] =
      namespace === undefined ? [process.execPath, argv.slice(1)] : ['ip', ['netns', 'exec', namespace, ...argv]];
    this.#child = spawn(file, args, {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      // As the images start them (iso/lib/overlay/usr/lib/rehost/boot.sh).
      env: { ...process.env, MALLOC_ARENA_MAX: '1' },
    });
    lab.later(() => kill(this.#child));
    this.ready = new Promise((resolve, reject) => this.#open.set(-1, { resolve, reject }));
    // Whoever waits for it gets it; a process that is killed before it is ready is no failure.
    this.ready.catch(() => {});
    this.#child.on('message', (answer: Answer) => {
      const waiting = this.#open.get(answer.id ?? -1);
      this.#open.delete(answer.id ?? -1);
      if (answer.error === undefined) waiting?.resolve(answer.result);
      else waiting?.reject(new Error(answer.error));
    });
    this.#child.once('exit', (code, signal) => {
      for (const { reject } of this.#open.values()) reject(new Error(`${entry} ended with ${signal ?? code}`));
      this.#open.clear();
    });
  }

  protected async ask(call: Question['call'], params?: unknown): Promise<unknown> {
    const id = this.#next++;
    const answer = new Promise<unknown>((resolve, reject) => this.#open.set(id, { resolve, reject }));
    this.#child.send({ id, call, params } satisfies Question, (error) => {
      if (error) this.#open.get(id)?.reject(error);
    });
    return await answer;
  }

  /** The largest resident set until now, bytes. */
  get peakBytes(): number {
    return peakRssBytes(this.#child.pid ?? 0) ?? Number.NaN;
  }

  /** SIGKILL, and wait for the end. */
  async kill(): Promise<void> {
    await kill(this.#child);
  }
}

export class SourceEnd extends End {
  /** Runs in a network namespace, if one is given; `program` is another form of the same (bundled-ends.ts). */
  constructor(lab: Lab, order: SourceOrder, { namespace, program = SOURCE }: Place = {}) {
    super(lab, program, order, namespace);
  }

  async status(): Promise<ExportStatus> {
    return (await this.ask('status')) as ExportStatus;
  }
}

export class SinkEnd extends End {
  /** As for SourceEnd. */
  constructor(lab: Lab, order: SinkOrder, { namespace, program = SINK }: Place = {}) {
    super(lab, program, order, namespace);
  }

  /** Where it listens. */
  async port(): Promise<number> {
    return Number(await this.ready);
  }

  async status(): Promise<CopyStatus> {
    return (await this.ask('status')) as CopyStatus;
  }

  async tune(change: Parameters<CopySession['tune']>[0]): Promise<void> {
    await this.ask('tune', change);
  }

  /** Verifies to the end. */
  async verify(): Promise<VerifyStatus> {
    return (await this.ask('verify')) as VerifyStatus;
  }

  /** Waits until the copy is done or failed. */
  async finished(): Promise<CopyStatus> {
    for (;;) {
      const status = await this.status();
      if (status.progress !== 'running') return status;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** For the processes: answers questions until the parent is gone. */
export async function answerTo(
  ready: unknown,
  answers: Partial<Record<Question['call'], (params: unknown) => unknown>>,
): Promise<void> {
  process.on('message', (question: Question) => {
    void (async () => {
      try {
        process.send?.({ id: question.id, result: await answers[question.call]?.(question.params) } satisfies Answer);
      } catch (error) {
        process.send?.({ id: question.id, error: String(error) } satisfies Answer);
      }
    })();
  });
  process.send?.({ result: ready } satisfies Answer);
  await once(process, 'disconnect');
  process.exit();
}
