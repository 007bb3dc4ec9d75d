/** A worker thread of this folder, typed by what it is told, with an end that is waited for. */
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';

/** After the order to end a thread has this long before it is terminated, ms. */
const END_DEADLINE_MS = 10_000;

export class Thread<Command> {
  readonly #worker: Worker;
  /** Resolves when the thread is gone, for whatever reason. */
  readonly gone: Promise<void>;

  /** Starts `NAME-worker`. `died` is called when it throws; a thread that ends by itself is no failure. */
  constructor(name: string, workerData: unknown, heard: (message: unknown) => void, died: (error: Error) => void) {
    const url = new URL(`./${name}-worker${extname(import.meta.filename)}`, import.meta.url);
    this.#worker = new Worker(url, { workerData });
    this.#worker.on('message', heard);
    this.#worker.on('error', (error) => died(error instanceof Error ? error : new Error(String(error))));
    this.gone = new Promise((resolve) => this.#worker.once('exit', () => resolve()));
  }

  post(command: Command): void {
    this.#worker.postMessage(command);
  }

  /** Resolves when the thread is gone; it was told to end before. One that does not is terminated. */
  async ended(): Promise<void> {
    const timer = setTimeout(() => void this.#worker.terminate(), END_DEADLINE_MS);
    await this.gone;
    clearTimeout(timer);
  }
}
