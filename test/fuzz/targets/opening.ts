/** The client's first steps on a socket that does not block, up to the end of the TLS handshake with a real TLS server. */
import { NBD_OPT_STARTTLS, NBD_REP_ACK, NBD_REP_ERR_UNSUP } from '../../../appliance/api/nbd.ts';
import { SysError } from '../../../native/errors.ts';
import { Memory } from '../../../native/memory.ts';
import { closeSocket, receiveSome } from '../../../native/socket.ts';
import { StreamError } from '../../../native/stream.ts';
import { TlsContext, type TlsSession } from '../../../native/tls.ts';
import { Opening } from '../../../receiver/copy/opening.ts';
import { sendTo, unixPair } from '../engine/script-stream.ts';
import type { FuzzTarget } from '../engine/target.ts';
import { must } from '../engine/violation.ts';
import { option } from './client-messages.ts';
import { endsConnection } from './connection.ts';
import { outcome } from './outcome.ts';
import { optionReply } from './server-messages.ts';

const IDENTITY = 'rehost-fuzz';
const client = new TlsContext('client', { identity: IDENTITY, key: Buffer.alloc(32, 1) });
const server = new TlsContext('server', { identity: IDENTITY, key: Buffer.alloc(32, 1) });
const stranger = new TlsContext('server', { identity: IDENTITY, key: Buffer.alloc(32, 2) });
const scratch = new Memory(65536);
/** Records that order the TLS server to go on, instead of sending bytes. */
const STEP = Buffer.from('tls!');
const STEPS_MAX = 64;
const HELLO = 0x16;

const GREETING = Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT', 'latin1'), Buffer.from([0, 3])]);
const ACK = optionReply(NBD_OPT_STARTTLS, NBD_REP_ACK);

/** What has arrived at a socket. */
function received(fd: number): Buffer {
  const parts: Buffer[] = [];
  try {
    for (let got = receiveSome(fd, scratch.address, scratch.length); got > 0; ) {
      parts.push(Buffer.from(scratch.bytes.slice(0, got)));
      got = receiveSome(fd, scratch.address, scratch.length);
    }
  } catch (error) {
    // The other end is closed.
    if (!(error instanceof StreamError)) throw error;
  }
  return Buffer.concat(parts);
}

/** The server's side. It reads what the client sends until TLS begins; then OpenSSL does. */
class Peer {
  readonly #fd: number;
  readonly #context: TlsContext;
  #session: TlsSession | undefined;
  heard: Buffer = Buffer.alloc(0);
  done = false;

  constructor(fd: number, context: TlsContext) {
    this.#fd = fd;
    this.#context = context;
  }

  /** Goes on with the handshake. False when it failed. */
  step(): boolean {
    this.#session ??= this.#context.session(this.#fd);
    try {
      if (this.#session.step() === 'done') this.done = true;
      return true;
    } catch (error) {
      if (error instanceof StreamError || error instanceof SysError) return false;
      throw error;
    }
  }

  listen(): void {
    if (!this.#session) this.heard = Buffer.concat([this.heard, received(this.#fd)]);
  }

  free(): void {
    this.#session?.free();
  }
}

/** Did bytes come in the same packet behind the answer to STARTTLS? They were sent before TLS and are nobody's. */
function injected(records: readonly Buffer[]): boolean {
  let length = 0;
  for (const record of records) {
    if (record.equals(STEP)) return false;
    length += record.length;
    if (length >= GREETING.length + ACK.length) return length > GREETING.length + ACK.length;
  }
  return false;
}

/** First record: bit 0 TLS, bit 1 a server with another key, bit 2 the server closes at the end. */
function run(records: readonly Buffer[]): string {
  const bits = records[0]?.[0] ?? 0;
  const tls = (bits & 1) !== 0;
  const [near, far] = unixPair();
  const peer = new Peer(far, (bits & 2) !== 0 ? stranger : server);
  const opening = new Opening(near, tls ? client : undefined, 0);
  let open = true;
  let result = 'waits';
  try {
    for (const record of records.slice(1, 1 + STEPS_MAX)) {
      // Once TLS begins, what the client sends is OpenSSL's to read.
      if (record.equals(STEP)) peer.step();
      else {
        peer.listen();
        sendTo(far, record);
      }
      if (!opening.done) opening.advance(scratch);
    }
    // The client is done first; the server has its last message still to read.
    for (let i = 0; tls && opening.done && i < STEPS_MAX && !peer.done && peer.step(); i++);
    if ((bits & 4) !== 0) {
      peer.listen();
      closeSocket(far);
      open = false;
      if (!opening.done) opening.advance(scratch);
    }
    if (opening.done) result = 'done';
  } catch (error) {
    if (!endsConnection(error) && !(error instanceof SysError)) throw error;
    result = outcome(error);
  } finally {
    if (open) peer.listen();
    opening.free();
    peer.free();
    closeSocket(near);
    if (open) closeSocket(far);
  }
  must(!tls || result !== 'done' || peer.done, 'a connection counts as encrypted that is not');
  must(
    !tls || !injected(records.slice(1)) || result.includes(':'),
    'bytes behind the answer to STARTTLS were taken for TLS',
  );
  must((bits & 2) === 0 || !peer.done, 'a server with another key was accepted');
  judgePlainText(peer.heard, tls);
  return result;
}

/** In plain text the client says its flags, asks for TLS, and nothing else; what follows is a TLS record. */
function judgePlainText(heard: Buffer, tls: boolean): void {
  if (heard.length === 0) return;
  must(heard.length >= 4 && heard.readUInt32BE(0) <= 3, 'other flags than there are');
  const starttls = option(NBD_OPT_STARTTLS);
  must(!tls || heard.subarray(4, 20).equals(starttls), 'something else than STARTTLS');
  must(tls || heard.length === 4, 'more than the flags');
  must(heard.length <= 20 || heard[20] === HELLO, 'plain text behind STARTTLS');
}

export const opening: FuzzTarget = {
  name: 'client-opening',
  first: (random) => Buffer.from([random.below(8)]),
  message: (random) =>
    random.pick([GREETING, ACK, STEP, optionReply(NBD_OPT_STARTTLS, NBD_REP_ERR_UNSUP), random.bytes(20)]),
  seeds: () => [
    [Buffer.from([1]), GREETING, ACK, STEP, STEP, STEP, STEP],
    [Buffer.from([3]), GREETING, ACK, STEP, STEP, STEP, STEP],
    [Buffer.from([0]), GREETING],
    [Buffer.from([5]), GREETING, Buffer.concat([ACK, Buffer.from([HELLO])])],
    [Buffer.from([5]), GREETING, ACK, Buffer.from('160303007a02000076', 'hex')],
  ],
  run,
};
