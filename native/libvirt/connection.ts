/** A libvirt connection as its owner sees it: asynchronous calls into a connection process. */
import type { CallArgs, CallName, CallResult } from './calls.ts';
import { LibvirtError, VIR_ERR } from './error.ts';
import { type Helper, startHelper } from './helper-process.ts';
import { type CallMessage, fromFailure, type OpenMessage, type ReplyMessage } from './protocol.ts';

/** How long a call may take unless the caller says otherwise, ms: starting a VM on a busy host takes tens of seconds. */
const CALL_DEADLINE_MS = 120_000;
/** How long a process may take to end when it is asked to, ms. */
const CLOSE_DEADLINE_MS = 5_000;

/**
 * Calls run one after the other, in order. The process is started by the first call and again after it ended; a call that outlives
 * its deadline ends the process. Nothing blocks the owner's event loop.
 */
export class LibvirtConnection {
  readonly uri: string;
  #helper: Helper | undefined;
  #tail: Promise<unknown> = Promise.resolve();
  #lastId = 0;
  /** The one call that is under way. */
  #waiting: { id: number; resolve: (reply: ReplyMessage) => void; fail: (reason: string) => void } | undefined;
  #closed = false;
  /** Resolves when every process that was started has ended. */
  #gone: Promise<unknown> = Promise.resolve();

  constructor(uri: string) {
    this.uri = uri;
  }

  /** Calls libvirt. Rejects with LibvirtError, or with Error for what is not libvirt's. `deadlineMs` counts from when it is this call's turn. */
  call<K extends CallName>(name: K, args: CallArgs<K>, deadlineMs = CALL_DEADLINE_MS): Promise<CallResult<K>> {
    const turn = this.#tail.then(() => this.#exchange(name, args, deadlineMs));
    // The caller gets the failure; the queue only waits for the call's end.
    this.#tail = turn.catch(() => undefined);
    return turn as Promise<CallResult<K>>;
  }

  async #exchange(name: string, args: unknown[], deadlineMs: number): Promise<unknown> {
    if (this.#closed) throw lost(name, 'the connection was closed');
    const helper = this.#live();
    const message: CallMessage = { id: ++this.#lastId, call: name, args };
    let timer: NodeJS.Timeout | undefined;
    try {
      const reply = await new Promise<ReplyMessage>((resolve, reject) => {
        this.#waiting = { id: message.id, resolve, fail: (reason) => reject(lost(name, reason)) };
        timer = setTimeout(() => {
          reject(lost(name, `no answer within ${deadlineMs / 1000} s`, VIR_ERR.OPERATION_TIMEOUT));
          this.#helper = undefined;
          helper.child.kill('SIGKILL');
        }, deadlineMs);
        helper.child.send(message, (error) => {
          if (error !== null) reject(lost(name, error.message));
        });
      });
      if ('failure' in reply) throw fromFailure(reply.failure);
      return reply.value;
    } finally {
      clearTimeout(timer);
      this.#waiting = undefined;
    }
  }

  #live(): Helper {
    if (this.#helper !== undefined) return this.#helper;
    const helper = startHelper('connection');
    this.#helper = helper;
    this.#gone = Promise.all([this.#gone, helper.ended]);
    const first: OpenMessage = { uri: this.uri };
    helper.child.send(first);
    helper.child.on('message', (reply: ReplyMessage) => {
      if (reply.id === this.#waiting?.id) this.#waiting.resolve(reply);
    });
    void helper.ended.then((how) => {
      if (this.#helper !== helper) return;
      this.#helper = undefined;
      this.#waiting?.fail(how);
    });
    return helper;
  }

  /** Lets the calls that were made end, then ends the process. Idempotent. */
  async close(): Promise<void> {
    await this.#tail;
    this.#closed = true;
    const { child } = this.#helper ?? {};
    if (child?.connected === true) child.disconnect();
    const timer = setTimeout(() => child?.kill('SIGKILL'), CLOSE_DEADLINE_MS);
    await this.#gone;
    clearTimeout(timer);
  }
}

function lost(call: string, message: string, code: number = VIR_ERR.RPC): LibvirtError {
  return new LibvirtError({ code, domain: 0, message: `${call}: ${message}`, call, errno: 0, lost: true });
}
