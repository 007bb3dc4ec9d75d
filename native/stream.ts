/** Byte streams over a connected socket, blocking, by address. One thread at a time owns a stream. */
import type { Address } from './memory.ts';

/** How a connection failed, other than by a system call's error. */
export type StreamFault = 'closed' | 'timeout' | 'tls';

/** The connection is of no further use. */
export class StreamError extends Error {
  override readonly name = 'StreamError';
  readonly fault: StreamFault;

  constructor(fault: StreamFault, message: string) {
    super(message);
    this.fault = fault;
  }
}

/**
 * How long a blocking call may wait. Blocking calls return to JS every SLICE_MS: a thread that is blocked in the kernel
 * could neither be stopped nor notice a deadline.
 */
export class Patience {
  /** A wait in which nothing moves for longer than this ends with a timeout, ms. */
  silenceMs: number;
  /** Throws to give up: at every slice, and between the parts of one call, so that a peer that drips bytes is noticed too. */
  readonly check: () => void;

  constructor(silenceMs: number, check: () => void) {
    this.silenceMs = silenceMs;
    this.check = check;
  }

  /** Called when nothing has moved since `sinceMs` (performance.now). Throws when that was too long. */
  slice(sinceMs: number, what: string): void {
    this.check();
    const waited = performance.now() - sinceMs;
    if (waited > this.silenceMs) {
      throw new StreamError('timeout', `Nothing ${what} for ${Math.round(waited)} ms.`);
    }
  }
}

/** How long one blocking call stays in the kernel at most, ms. */
export const SLICE_MS = 200;

export interface ByteStream {
  readonly fd: number;
  /** Fills `bytes` bytes at `address`. StreamError 'closed' at the end of the stream. */
  readExact(address: Address, bytes: number): void;
  /** Takes `bytes` bytes at `address`; they may stay in a buffer until `flush`. The memory is free again after the call. */
  write(address: Address, bytes: number): void;
  /** Sends what is buffered. To be called before waiting for an answer. */
  flush(): void;
  /** Bytes that went over the wire until now, TLS records included. */
  readonly wireIn: number;
  readonly wireOut: number;
  /** Ends the stream and closes the socket. Idempotent; never throws. */
  close(): void;
}
