/** The open control channels of one kind, by machine or job id. At most one each: a newer channel replaces the older. */
import type { ErrorCode } from '../api/errors.ts';
import { RehostError } from '../api/errors.ts';
import { throwIfAborted } from '../job/wait.ts';

/** What is kept here: a control channel's end. */
interface Channel {
  readonly open: boolean;
  close(): void;
}

export class Connections<C extends Channel> {
  readonly #open = new Map<string, C>();
  readonly #waiting = new Map<string, Set<(channel: C) => void>>();
  readonly #missing: ErrorCode;
  readonly #kind: string;

  /** `missing` is the code of a wait in vain, `kind` the word for the other end in its message. */
  constructor(missing: ErrorCode, kind: string) {
    this.#missing = missing;
    this.#kind = kind;
  }

  get(id: string): C | undefined {
    const channel = this.#open.get(id);
    return channel?.open ? channel : undefined;
  }

  /** Makes this the id's channel: the one before is closed, who waits for it gets it. */
  set(id: string, channel: C): void {
    const before = this.#open.get(id);
    this.#open.set(id, channel);
    if (before !== undefined && before !== channel) before.close();
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    for (const resolve of waiting ?? []) resolve(channel);
  }

  /** Forgets a channel that closed; false where a newer one has its place. */
  remove(id: string, channel: C): boolean {
    if (this.#open.get(id) !== channel) return false;
    this.#open.delete(id);
    return true;
  }

  /** Closes the id's channel, if there is one. */
  drop(id: string): void {
    const channel = this.#open.get(id);
    this.#open.delete(id);
    channel?.close();
  }

  /** The id's channel, now or as soon as it is there. After `deadlineMs` the code given at construction; on abort the abort's error. */
  async waitFor(id: string, deadlineMs: number, signal?: AbortSignal): Promise<C> {
    if (signal) throwIfAborted(signal);
    const present = this.get(id);
    if (present) return present;
    const { promise, resolve, reject } = Promise.withResolvers<C>();
    const waiting = this.#waiting.get(id) ?? new Set();
    this.#waiting.set(id, waiting);
    waiting.add(resolve);
    const timer = setTimeout(() => {
      reject(new RehostError(this.#missing, `The ${this.#kind} '${id}' did not dial in within ${deadlineMs} ms.`));
    }, deadlineMs);
    const aborted = (): void => {
      try {
        if (signal) throwIfAborted(signal);
      } catch (error) {
        reject(error);
      }
    };
    signal?.addEventListener('abort', aborted, { once: true });
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', aborted);
      waiting.delete(resolve);
      if (waiting.size === 0 && this.#waiting.get(id) === waiting) this.#waiting.delete(id);
    }
  }
}
