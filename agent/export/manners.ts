/** How the source is read, shared by all threads of an export, so that it can be changed while they read. */
import type { ReadManners, ReadPriority } from '../../appliance/api/control.ts';
import { SysError } from '../../native/errors.ts';
import { setIoPriority } from '../../native/io-priority.ts';
import { BackOff } from './back-off.ts';

const PRIORITIES: readonly ReadPriority[] = ['normal', 'low', 'idle'];
const PRIORITY = 0;
const BACK_OFF = 1;
const FLAGS = 2;

/** The settings. Any thread sets and reads them. */
export class Manners {
  readonly shared: SharedArrayBuffer;
  readonly #flags: Int32Array<SharedArrayBuffer>;

  constructor(shared: SharedArrayBuffer = new SharedArrayBuffer(4 * FLAGS)) {
    this.shared = shared;
    this.#flags = new Int32Array(shared);
  }

  /** What is left out stays. */
  set({ readPriority, backOff }: ReadManners): void {
    if (readPriority !== undefined) Atomics.store(this.#flags, PRIORITY, PRIORITIES.indexOf(readPriority));
    if (backOff !== undefined) Atomics.store(this.#flags, BACK_OFF, backOff ? 1 : 0);
  }

  get readPriority(): ReadPriority {
    return PRIORITIES[Atomics.load(this.#flags, PRIORITY)] ?? 'normal';
  }

  get backOff(): boolean {
    return Atomics.load(this.#flags, BACK_OFF) !== 0;
  }
}

/** One thread's obedience to them. */
export class MannerlyReads {
  readonly #manners: Manners;
  readonly #sleep: (ms: number) => void;
  #priority: ReadPriority = 'normal';
  #backOff: BackOff | undefined;

  /** `sleep` blocks this thread, and throws or returns early when the session stops. */
  constructor(manners: Manners, sleep: (ms: number) => void) {
    this.#manners = manners;
    this.#sleep = sleep;
  }

  /** Runs one read of the disk. */
  read(read: () => void): void {
    const priority = this.#manners.readPriority;
    if (priority !== this.#priority) {
      this.#priority = priority;
      apply(priority);
    }
    if (!this.#manners.backOff) {
      this.#backOff = undefined;
      read();
      return;
    }
    this.#backOff ??= new BackOff();
    const start = performance.now();
    read();
    const pauseMs = this.#backOff.after(performance.now() - start);
    if (pauseMs > 0) this.#sleep(pauseMs);
  }
}

/** A kernel that does not let itself be told (a container's filter) reads all the same, at its own priority: nothing is lost by that. */
function apply(priority: ReadPriority): void {
  try {
    setIoPriority(priority);
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
  }
}
