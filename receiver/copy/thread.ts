/** A worker thread of this folder, typed by what it is told, with an end that is waited for. */
import type { Worker } from 'node:worker_threads';
import { Threads } from '../../appliance/api/threads.ts';

/** After the order to end a thread has this long before it is terminated, ms. */
const END_DEADLINE_MS = 10_000;
/** A terminated thread that is not gone after this hangs in a system call, and nothing ends it but the storage's answer, ms. */
const TERMINATE_DEADLINE_MS = 5_000;

const threads = new Threads(import.meta.filename);

/** Loads the threads of a copy of one disk before it is ordered; resolves when they are. */
export async function prepareThreads(connections: number): Promise<void> {
  await Promise.all([threads.prepare('pull', connections), threads.prepare('door', 1), threads.prepare('target', 1)]);
}

/** Ends those that nobody has taken. */
export function dropThreads(): Promise<void> {
  return threads.drop();
}

export class Thread<Command> {
  readonly #worker: Worker;
  /** Resolves when the thread is gone, for whatever reason, or was given up. */
  readonly gone: Promise<void>;
  #giveUp: () => void = () => {};

  /** Starts `NAME-worker` with this work. `died` is called when it throws; a thread that ends by itself is no failure. */
  constructor(name: string, work: unknown, heard: (message: unknown) => void, died: (error: Error) => void) {
    this.#worker = threads.start(name, work);
    this.#worker.on('message', heard);
    this.#worker.on('error', (error) => died(error instanceof Error ? error : new Error(String(error))));
    this.gone = new Promise((resolve) => {
      this.#giveUp = resolve;
      this.#worker.once('exit', () => resolve());
    });
  }

  post(command: Command): void {
    this.#worker.postMessage(command);
  }

  /** Resolves when the thread is gone; it was told to end before. One that does not is terminated, and at last given up. */
  async ended(): Promise<void> {
    const terminate = setTimeout(() => void this.#worker.terminate(), END_DEADLINE_MS);
    const giveUp = setTimeout(this.#giveUp, END_DEADLINE_MS + TERMINATE_DEADLINE_MS);
    await this.gone;
    clearTimeout(terminate);
    clearTimeout(giveUp);
  }
}
