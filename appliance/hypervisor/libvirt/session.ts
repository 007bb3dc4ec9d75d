/** One hypervisor's connections: questions in order on one, long copies each on one of their own. Errors leave as RehostError. */
import type { CallArgs, CallName, CallResult } from '../../../native/libvirt/calls.ts';
import { LibvirtConnection } from '../../../native/libvirt/connection.ts';
import { isLibvirt, toRehostError } from './errors.ts';

/** How long copying one volume may take, ms: a day, for terabytes on slow disks. */
const COPY_DEADLINE_MS = 24 * 3_600_000;

export class LibvirtSession {
  readonly uri: string;
  /** Bridges of the host that the configuration names. */
  readonly bridges: readonly string[];
  readonly #connection: LibvirtConnection;

  constructor(uri: string, bridges: readonly string[]) {
    this.uri = uri;
    this.bridges = bridges;
    this.#connection = new LibvirtConnection(uri);
  }

  /** Calls libvirt. `what` begins the sentence of the error. */
  async ask<K extends CallName>(what: string, name: K, ...args: CallArgs<K>): Promise<CallResult<K>> {
    try {
      return await this.#connection.call(name, args);
    } catch (error) {
      throw toRehostError(what, error);
    }
  }

  /** Calls libvirt where one refusal, by its virErrorNumber, is an answer: undefined. */
  async askUnless<K extends CallName>(
    expected: number,
    what: string,
    name: K,
    ...args: CallArgs<K>
  ): Promise<CallResult<K> | undefined> {
    try {
      return await this.#connection.call(name, args);
    } catch (error) {
      if (isLibvirt(error, expected)) return undefined;
      throw toRehostError(what, error);
    }
  }

  /** Calls something that takes long, beside the other calls. */
  async askAside<K extends CallName>(what: string, name: K, ...args: CallArgs<K>): Promise<CallResult<K>> {
    const aside = new LibvirtConnection(this.uri);
    try {
      return await aside.call(name, args, COPY_DEADLINE_MS);
    } catch (error) {
      throw toRehostError(what, error);
    } finally {
      await aside.close();
    }
  }

  /** Ends the connection's process. Idempotent. */
  close(): Promise<void> {
    return this.#connection.close();
  }
}
