/**
 * The first steps with a server, up to the end of the TLS handshake, on a socket that does not block: one thread carries
 * many half-open connections, and none of them can hold up another.
 */

import { RehostError } from '../../appliance/api/errors.ts';
import { NBD_OPT_STARTTLS, NBD_REP_ACK } from '../../appliance/api/nbd.ts';
import type { Memory } from '../../native/memory.ts';
import { hasPending, POLLIN, POLLOUT, receiveSome, sendSmall } from '../../native/socket.ts';
import type { TlsContext, TlsSession } from '../../native/tls.ts';
import * as wire from './wire.ts';

type Step = 'greeting' | 'starttls' | 'handshake' | 'done';

/** One half-open connection. Owned by the door's thread. */
export class Opening {
  readonly fd: number;
  /** performance.now() when it is dropped, ms. */
  readonly deadline: number;
  /** poll(2) events that it waits for. */
  events = POLLIN;
  readonly #tls: TlsContext | undefined;
  readonly #received = Buffer.alloc(wire.OPTION_REPLY_BYTES);
  #have = 0;
  #step: Step = 'greeting';
  #session: TlsSession | undefined;

  /** Without `tls` the connection stays unencrypted: for tests against local servers. */
  constructor(fd: number, tls: TlsContext | undefined, deadline: number) {
    this.fd = fd;
    this.#tls = tls;
    this.deadline = deadline;
  }

  get done(): boolean {
    return this.#step === 'done';
  }

  /** Goes on as far as the socket lets it. Throws when this connection is of no use; `scratch` is the thread's memory. */
  advance(scratch: Memory): void {
    if (this.#step === 'greeting' && this.#receive(wire.GREETING_BYTES, scratch)) this.#greeted(scratch);
    if (this.#step === 'starttls' && this.#receive(wire.OPTION_REPLY_BYTES, scratch)) this.#mayEncrypt(scratch);
    if (this.#step === 'handshake') this.#handshake();
  }

  #greeted(scratch: Memory): void {
    const flags = wire.readGreeting(this.#received);
    if (flags === undefined) throw new RehostError('PROTOCOL_VIOLATION', 'The other side is no NBD server.');
    sendSmall(this.fd, wire.clientFlags(flags), scratch);
    this.#have = 0;
    if (!this.#tls) {
      this.#step = 'done';
      return;
    }
    sendSmall(this.fd, wire.option(NBD_OPT_STARTTLS), scratch);
    this.#step = 'starttls';
  }

  #mayEncrypt(scratch: Memory): void {
    const reply = wire.readOptionReply(this.#received, NBD_OPT_STARTTLS);
    if (reply?.type !== NBD_REP_ACK || reply.length !== 0) {
      throw new RehostError('PROTOCOL_VIOLATION', 'The server does not encrypt; nothing was asked of it.');
    }
    // The server speaks next only after our hello: bytes that are here already were injected.
    if (hasPending(this.fd, scratch.address)) {
      throw new RehostError('PROTOCOL_VIOLATION', 'There is data behind the answer to STARTTLS.');
    }
    this.#session = this.#tls?.session(this.fd);
    this.#step = 'handshake';
  }

  #handshake(): void {
    const step = this.#session?.step();
    this.events = step === 'wants-write' ? POLLOUT : POLLIN;
    if (step === 'done') this.#step = 'done';
  }

  /** Has `bytes` arrived in full? Never reads more: what follows belongs to the next step. */
  #receive(bytes: number, scratch: Memory): boolean {
    const got = receiveSome(this.fd, scratch.address, bytes - this.#have);
    this.#received.set(scratch.bytes.subarray(0, got), this.#have);
    this.#have += got;
    return this.#have === bytes;
  }

  /** The SSL object (0 when unencrypted), once done. It and the socket are the caller's from here on. */
  take(): number {
    return this.#session?.take() ?? 0;
  }

  /** Frees the session if it was not taken. The socket stays the caller's. */
  free(): void {
    this.#session?.free();
  }
}
