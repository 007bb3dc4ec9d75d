/**
 * Requests in flight on one connection, and their replies. Every field of a reply is checked before anything is done with
 * it: data is received only into the memory of the request that it answers, within its range, no byte twice.
 */

import { RehostError } from '../../appliance/api/errors.ts';
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_DISC,
  NBD_CMD_READ,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR_OFFSET,
  NBD_REPLY_TYPE_FLAG_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  REHOST_HASH_BYTES,
  REHOST_REPLY_TYPE_HASH,
} from '../../appliance/api/nbd.ts';
import type { Run } from '../../native/bytes.ts';
import { type Address, Memory } from '../../native/memory.ts';
import type { ByteStream } from '../../native/stream.ts';
import type { Agreement } from './client.ts';
import * as wire from './wire.ts';

/** Chunks of one reply: a MiB in alternating holes and data of 4 KiB has 256. */
const CHUNKS_MAX = 4096;
/** Payload of an error chunk: error, message, offset. The protocol's longest string is 4096 bytes. */
const ERROR_PAYLOAD_MAX = 4096 + 16;
/** Descriptors that are read of one answer. The protocol sets no limit; qemu-nbd and nbdkit send far fewer. */
const DESCRIPTORS_MAX = 128 * 1024;
const SCRATCH_BYTES = 64 * 1024;

function violation(message: string): RehostError {
  return new RehostError('PROTOCOL_VIOLATION', message);
}

/** What a server said in place of an answer. */
export interface ServerError {
  errno: number;
  message: string;
  /** Where on the disk, if it said so, bytes. */
  offset: number | undefined;
}

/** A READ in flight. Its memory is the caller's and may be written until the reply is complete. */
export interface PendingRead {
  kind: 'read';
  cookieHigh: number;
  cookieLow: number;
  offset: number;
  length: number;
  address: Address;
  /** Ranges of the request that arrived, relative to its start, in the order of arrival; `hole` ones are zeros and not in memory. */
  chunks: (Run & { hole: boolean })[];
  /** Largest end of `chunks`. */
  reached: number;
  covered: number;
  hash: Uint8Array | undefined;
  error: ServerError | undefined;
}

/** A BLOCK_STATUS in flight. */
export interface PendingStatus {
  kind: 'status';
  cookieHigh: number;
  cookieLow: number;
  offset: number;
  length: number;
  /** Pairs of length and flags. */
  descriptors: { length: number; flags: number }[] | undefined;
  error: ServerError | undefined;
}

export type Pending = PendingRead | PendingStatus;

/** The requests of one connection. Owned by its thread; `free` ends it. */
export class Requests {
  readonly #stream: ByteStream;
  readonly #agreement: Agreement;
  readonly #in = new Memory(SCRATCH_BYTES);
  readonly #out = new Memory(4096);
  readonly #pending = new Map<number, Pending>();
  /** Counts up for ever, so that a late or doubled reply never fits another request. */
  #next = 0;
  #queued = 0;

  constructor(stream: ByteStream, agreement: Agreement) {
    this.#stream = stream;
    this.#agreement = agreement;
  }

  get inFlight(): number {
    return this.#pending.size;
  }

  /** Queues a READ; `flush` sends it. */
  read(offset: number, length: number, address: Address): PendingRead {
    const cookie = this.#cookie();
    const pending: PendingRead = {
      kind: 'read',
      ...cookie,
      offset,
      length,
      address,
      chunks: [],
      reached: 0,
      covered: 0,
      hash: undefined,
      error: undefined,
    };
    this.#queue(NBD_CMD_READ, pending);
    return pending;
  }

  /** Queues a BLOCK_STATUS; `flush` sends it. */
  status(offset: number, length: number): PendingStatus {
    const pending: PendingStatus = {
      kind: 'status',
      ...this.#cookie(),
      offset,
      length,
      descriptors: undefined,
      error: undefined,
    };
    this.#queue(NBD_CMD_BLOCK_STATUS, pending);
    return pending;
  }

  /** Says goodbye: no reply follows. */
  disconnect(): void {
    this.#out.bytes.fill(0, 0, wire.REQUEST_BYTES);
    const length = wire.request(this.#out.view, 0, NBD_CMD_DISC, 0, 0, 0, 0);
    this.#stream.write(this.#out.address, length);
    this.#stream.flush();
  }

  #cookie(): { cookieHigh: number; cookieLow: number } {
    this.#next++;
    return { cookieHigh: Math.floor(this.#next / 2 ** 32), cookieLow: this.#next >>> 0 };
  }

  #queue(type: number, pending: Pending): void {
    if (this.#queued + wire.REQUEST_BYTES > this.#out.length) this.flush();
    const { cookieHigh, cookieLow, offset, length } = pending;
    this.#queued += wire.request(this.#out.view, this.#queued, type, cookieHigh, cookieLow, offset, length);
    this.#pending.set(this.#next, pending);
  }

  /** Sends what is queued. */
  flush(): void {
    if (this.#queued === 0) return;
    this.#stream.write(this.#out.address, this.#queued);
    this.#queued = 0;
    this.#stream.flush();
  }

  /** Receives until one request is complete, and returns it. PROTOCOL_VIOLATION, StreamError or SysError end the connection. */
  complete(): Pending {
    for (;;) {
      this.#stream.readExact(this.#in.address, wire.REPLY_BYTES);
      const head = wire.readReply(this.#in.view);
      if (!head) throw violation('A reply has the wrong magic.');
      const cookie = head.cookieHigh * 2 ** 32 + head.cookieLow;
      const pending = this.#pending.get(cookie);
      if (!pending) throw violation(`A reply to no request (cookie ${cookie}).`);
      const done =
        head.kind === 'simple' ? this.#simple(pending, head.errno) : this.#chunk(pending, head.flags, head.type);
      if (done) {
        this.#pending.delete(cookie);
        return pending;
      }
    }
  }

  #simple(pending: Pending, errno: number): true {
    if (errno !== 0) {
      pending.error = { errno, message: `error ${errno}`, offset: undefined };
      return true;
    }
    if (this.#agreement.structured || pending.kind !== 'read')
      throw violation('A simple reply where a structured one was agreed on.');
    this.#stream.readExact(pending.address, pending.length);
    pending.chunks.push({ start: 0, end: pending.length, hole: false });
    pending.covered = pending.length;
    return true;
  }

  /** One structured chunk; true when it was the last. */
  #chunk(pending: Pending, flags: number, type: number): boolean {
    if (!this.#agreement.structured) throw violation('A structured reply that was not agreed on.');
    if ((flags & ~NBD_REPLY_FLAG_DONE) !== 0) throw violation(`Reply flags ${flags}.`);
    this.#stream.readExact(this.#in.address, 4);
    const length = this.#in.view.getUint32(0);
    const done = (flags & NBD_REPLY_FLAG_DONE) !== 0;
    if ((type & NBD_REPLY_TYPE_FLAG_ERROR) !== 0) this.#errorChunk(pending, type, length);
    else if (type === NBD_REPLY_TYPE_NONE) {
      if (length !== 0 || !done) throw violation('An empty chunk that is not empty or not the last.');
    } else if (pending.kind === 'status') this.#statusChunk(pending, type, length);
    else this.#readChunk(pending, type, length);
    if (done) this.#checkComplete(pending);
    return done;
  }

  #readChunk(pending: PendingRead, type: number, length: number): void {
    if (pending.chunks.length >= CHUNKS_MAX) throw violation(`More than ${CHUNKS_MAX} chunks in one reply.`);
    const { view } = this.#in;
    if (type === NBD_REPLY_TYPE_OFFSET_DATA) {
      if (length <= 8 || length - 8 > pending.length) throw violation(`A data chunk of ${length} bytes.`);
      this.#stream.readExact(this.#in.address, 8);
      const start = this.#take(pending, view.getBigUint64(0), length - 8, false);
      this.#stream.readExact(pending.address + start, length - 8);
    } else if (type === NBD_REPLY_TYPE_OFFSET_HOLE) {
      if (length !== 12) throw violation(`A hole chunk of ${length} bytes, not 12.`);
      this.#stream.readExact(this.#in.address, 12);
      this.#take(pending, view.getBigUint64(0), view.getUint32(8), true);
    } else if (type === REHOST_REPLY_TYPE_HASH && this.#agreement.hashes) {
      const expected = 12 + REHOST_HASH_BYTES;
      if (length !== expected) throw violation(`A hash chunk of ${length} bytes, not ${expected}.`);
      this.#stream.readExact(this.#in.address, expected);
      const range = view.getBigUint64(0) === BigInt(pending.offset) && view.getUint32(8) === pending.length;
      if (!range || pending.hash) throw violation('A hash of another range, or a second one.');
      pending.hash = this.#in.bytes.slice(12, expected);
    } else throw violation(`A chunk of type ${type} in the reply to a READ.`);
  }

  /** Checks a chunk's range and notes it; returns its start relative to the request. */
  #take(pending: PendingRead, offset: bigint, length: number, hole: boolean): number {
    const start = Number(offset - BigInt(pending.offset));
    const end = start + length;
    if (length === 0 || start < 0 || end > pending.length) {
      throw violation(
        `A chunk at ${offset} of ${length} bytes answers a READ at ${pending.offset} of ${pending.length}.`,
      );
    }
    // Chunks mostly come in order; only one that goes back can overlap.
    if (start < pending.reached && pending.chunks.some((other) => start < other.end && other.start < end)) {
      throw violation(`A chunk at ${offset} of ${length} bytes overlaps another.`);
    }
    pending.chunks.push({ start, end, hole });
    pending.reached = Math.max(pending.reached, end);
    pending.covered += length;
    return start;
  }

  #statusChunk(pending: PendingStatus, type: number, length: number): void {
    if (type !== NBD_REPLY_TYPE_BLOCK_STATUS) throw violation(`A chunk of type ${type} in the reply to BLOCK_STATUS.`);
    if (length < 12 || (length - 4) % 8 !== 0 || (length - 4) / 8 > DESCRIPTORS_MAX) {
      throw violation(`A status chunk of ${length} bytes.`);
    }
    this.#stream.readExact(this.#in.address, 4);
    if (this.#in.view.getUint32(0) !== this.#agreement.allocationId)
      throw violation('A status of a context that was not agreed on.');
    if (pending.descriptors) throw violation('A second status chunk of the same context.');
    const descriptors: { length: number; flags: number }[] = [];
    for (let left = length - 4; left > 0; ) {
      const step = Math.min(left, SCRATCH_BYTES);
      this.#stream.readExact(this.#in.address, step);
      for (let at = 0; at < step; at += 8) {
        descriptors.push({ length: this.#in.view.getUint32(at), flags: this.#in.view.getUint32(at + 4) });
      }
      left -= step;
    }
    if (descriptors.some((one) => one.length === 0)) throw violation('A status descriptor of no bytes.');
    pending.descriptors = descriptors;
  }

  #errorChunk(pending: Pending, type: number, length: number): void {
    if (length < 6 || length > ERROR_PAYLOAD_MAX) throw violation(`An error chunk of ${length} bytes.`);
    this.#stream.readExact(this.#in.address, length);
    const { view, bytes } = this.#in;
    const textLength = view.getUint16(4);
    const end = 6 + textLength;
    const withOffset = type === NBD_REPLY_TYPE_ERROR_OFFSET;
    if (end + (withOffset ? 8 : 0) > length) throw violation('An error chunk whose message is longer than itself.');
    const errno = view.getUint32(0);
    if (errno === 0) throw violation('An error chunk without an error.');
    const text = Buffer.from(bytes.slice(6, end)).toString('utf8');
    const offset = withOffset ? Number(view.getBigUint64(end)) : undefined;
    pending.error ??= { errno, message: text === '' ? `error ${errno}` : text, offset };
  }

  #checkComplete(pending: Pending): void {
    if (pending.error) return;
    if (pending.kind === 'status') {
      if (!pending.descriptors) throw violation('A reply to BLOCK_STATUS without a status.');
      return;
    }
    if (pending.covered !== pending.length) {
      throw violation(`A READ of ${pending.length} bytes at ${pending.offset} was answered with ${pending.covered}.`);
    }
    if (this.#agreement.hashes && !pending.hash) throw violation('A reply without the hash that was agreed on.');
  }

  /** Frees the memory for headers. Idempotent. */
  free(): void {
    this.#in.free();
    this.#out.free();
  }
}
