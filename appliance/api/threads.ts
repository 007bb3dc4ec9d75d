/**
 * Worker threads that can be started and loaded before there is work for them: a start takes 40 ms of a fast CPU, and most of a
 * second under emulation, while somebody waits for the first block.
 */
import { dirname, extname, join } from 'node:path';
import { parentPort, Worker, workerData } from 'node:worker_threads';

/** What a thread makes in the JS heap is small and short-lived; V8 would let its nursery grow to 16 MiB and more before it looks, MiB. */
const YOUNG_MIB = 2;

/** workerData: set to 1 by a thread that is loaded. */
type Loaded = Int32Array<SharedArrayBuffer>;

interface Waiting {
  worker: Worker;
  /** Resolves when it is loaded, or gone. */
  loaded: Promise<unknown>;
}

/** The threads of one folder: its NAME-worker files. */
export class Threads {
  readonly #module: string;
  readonly #ready = new Map<string, Waiting[]>();

  /** `module`: the file of a module in that folder. */
  constructor(module: string) {
    this.#module = module;
  }

  /**
   * `count` threads of this name wait from now on, until they are taken by `start` or dropped. Resolves when they are loaded, or gone: one
   * whose program cannot be loaded says so to whoever starts it for work. Rejects when no thread can be made at all.
   */
  async prepare(name: string, count: number): Promise<void> {
    const ready = this.#ready.get(name) ?? [];
    this.#ready.set(name, ready);
    while (ready.length < count) {
      const { worker, loaded } = this.#load(name);
      // A program that ends does not wait for threads without work.
      worker.unref();
      const gone = new Promise<void>((resolve) => {
        const forget = (): void => {
          const index = ready.findIndex((one) => one.worker === worker);
          if (index >= 0) ready.splice(index, 1);
          resolve();
        };
        worker.once('error', forget).once('exit', forget);
      });
      ready.push({ worker, loaded: Promise.race([Atomics.waitAsync(loaded, 0, 0).value, gone]) });
    }
    await Promise.all(ready.map((one) => one.loaded));
  }

  /** A thread of this name with its work, which it gets as its first message; the caller owns it. */
  start(name: string, work: unknown): Worker {
    const worker = this.#ready.get(name)?.shift()?.worker ?? this.#load(name).worker;
    worker.ref();
    worker.postMessage(work);
    return worker;
  }

  /** Ends all threads that wait. Resolves when they are gone. */
  async drop(): Promise<void> {
    const waiting = [...this.#ready.values()].flatMap((ready) => ready.splice(0));
    await Promise.all(waiting.map(({ worker }) => worker.terminate()));
  }

  #load(name: string): { worker: Worker; loaded: Loaded } {
    const file = join(dirname(this.#module), `${name}-worker${extname(this.#module)}`);
    const loaded: Loaded = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
    const limits = { maxYoungGenerationSizeMb: YOUNG_MIB };
    return { worker: new Worker(file, { workerData: loaded, resourceLimits: limits }), loaded };
  }
}

/** On such a thread: its work. Messages after it wait for the next listener, or for receiveMessageOnPort. */
export function assignment<Work>(): Promise<Work> {
  const loaded = workerData as Loaded;
  Atomics.store(loaded, 0, 1);
  Atomics.notify(loaded, 0);
  return new Promise((resolve) => parentPort?.once('message', resolve));
}
