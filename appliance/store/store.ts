/** The appliance's durable state: small, in memory, written whole on every change. */
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Low } from 'lowdb';
import { Check, Errors } from 'typebox/value';
import { RehostError } from '../api/errors.ts';
import type { Job } from '../api/job.ts';
import { DurableAdapter } from './adapter.ts';
import { lockStore, type StoreLock } from './lock.ts';
import { type DeepReadonly, emptyStore, StoreData } from './schema.ts';

/** File name of the state in its folder. */
export const STATE_FILE = 'state.json';

export class Store {
  readonly #low: Low<StoreData>;
  readonly #lock: StoreLock;
  #durable: StoreData;
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  private constructor(low: Low<StoreData>, lock: StoreLock) {
    this.#low = low;
    this.#lock = lock;
    this.#durable = low.data;
  }

  /** Opens the folder (made with mode 0700) for this process alone. STORE_LOCKED, STORE_DAMAGED. */
  static async open(folder: string): Promise<Store> {
    await makeFolder(folder);
    const lock = await lockStore(folder);
    try {
      const low = new Low(new DurableAdapter(join(folder, STATE_FILE)), emptyStore());
      await low.read();
      return new Store(low, lock);
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /** The state that is on disk. Never a change that is still being written. */
  get data(): DeepReadonly<StoreData> {
    return this.#durable;
  }

  /**
   * Changes the state; resolves with what `change` returned when the new state is durable. Updates run one after the other, in
   * the order of the calls. Where `change` throws, the result breaks the schema, or the write fails, the state stays as it was.
   */
  async update<T>(change: (draft: StoreData) => T): Promise<T> {
    // Without the lock the file is another process's.
    if (this.#closed) throw new RehostError('INTERNAL', 'The state was to be changed after it was closed.');
    const result = this.#last.then(() => this.#apply(change));
    // The queue goes on after a failed update; its caller gets the failure from `result`.
    this.#last = result.catch(() => undefined);
    return await result;
  }

  /** All jobs, each a copy of its own. */
  all(): Job[] {
    return structuredClone(this.#durable.jobs);
  }

  /** Writes one job's record; resolves when it is durable. */
  async save(job: Job): Promise<void> {
    const copy = structuredClone(job);
    await this.update((draft) => {
      const at = draft.jobs.findIndex((known) => known.id === copy.id);
      if (at < 0) draft.jobs.push(copy);
      else draft.jobs[at] = copy;
    });
  }

  /** Waits for updates under way, then gives the folder free. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#last;
    await this.#lock.release();
  }

  async #apply<T>(change: (draft: StoreData) => T): Promise<T> {
    const draft = structuredClone(this.#durable);
    const result = change(draft);
    if (!Check(StoreData, draft)) {
      const first = Errors(StoreData, draft)[0];
      throw new RehostError('INTERNAL', `A change of the state breaks its schema at '${first?.instancePath ?? ''}'.`);
    }
    this.#low.data = draft;
    await this.#low.write();
    this.#durable = draft;
    return result;
  }
}

/** CONFIG_INVALID where this user may not have the folder: that is a matter of who runs it and where, not a fault. */
async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await chmod(folder, 0o700);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === undefined || !['EACCES', 'EPERM', 'EROFS', 'ENOTDIR'].includes(code)) throw cause;
    throw new RehostError('CONFIG_INVALID', `The state folder ${folder} cannot be used: ${message}.`, {
      cause,
      next: 'Run rehostd as root, or choose a folder of your own with --state.',
    });
  }
}
