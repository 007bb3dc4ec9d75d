/** A worker thread of this folder, typed by what it is told, with an end that is waited for. */
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';

/** After the order to end a thread has this long before it is terminated, ms. */
const END_DEADLINE_MS = 10_000;
/** A terminated thread that is not gone after this hangs in a system call, and nothing ends it but the storage's answer, ms. */
const TERMINATE_DEADLINE_MS = 5_000;

/** What a thread of this folder makes in the JS heap is small and short-lived; V8 would let it grow to 16 MiB and more before it looks. */
const YOUNG_MIB = 2;

export class Thread<Command> {
  readonly #worker: Worker;
  /** Resolves when the thread is gone, for whatever reason, or was given up. */
  readonly gone: Promise<void>;
  #giveUp: () => void = () => {};

  /** Starts `NAME-worker`. `died` is called when it throws; a thread that ends by itself is no failure. */
  constructor(name: string, workerData: unknown, heard: (message: unknown) => void, died: (error: Error) => void) {
    const url = new URL(`./${name}-worker${extname(import.meta.filename)}`, import.meta.url);
    this.#worker = new Worker(url, { workerData, resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MIB } });
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
