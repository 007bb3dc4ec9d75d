/**
 * Requests in flight on one connection, and their replies. Every field of a reply is checked before anything is done with
 * it: data is received only into the sink of the request that it answers, within its range, no byte twice.
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
  REHOST_CMD_HASH,
  REHOST_HASH_BYTES,
  REHOST_REPLY_TYPE_HASH,
  REHOST_REPLY_TYPE_ZSTD,
} from '../../appliance/api/nbd.ts';
import { STEP_BYTES } from '../../appliance/api/transfer.ts';
import type { Run } from '../../native/bytes.ts';
import { type Address, Memory } from '../../native/memory.ts';
import type { ByteStream } from '../../native/stream.ts';
import { ZstdDecompressor } from '../../native/zstd.ts';
import type { Agreement } from './client.ts';
import * as wire from './wire.ts';

/** Chunks of one reply: a block in alternating holes and data of 4 KiB has 1024. */
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

/** Where the content of a READ goes, as it arrives. Positions are relative to the request's start. */
export interface ContentSink {
  /** Where content from `start` on is to be put, and how much of it at once: 1 to `length` bytes, STEP_BYTES if `length` is that much. */
  room(start: number, length: number): { address: Address; length: number };
  /** So many bytes from `start` on are there. */
  filled(start: number, length: number): void;
  /** The range is zeros. */
  hole(start: number, length: number): void;
}

/** A READ in flight. Its sink is used until the reply is complete. */
export interface PendingRead {
  kind: 'read';
  cookieHigh: number;
  cookieLow: number;
  offset: number;
  length: number;
  /** None for a request of the hash alone. */
  sink: ContentSink | undefined;
  /** Ranges that arrived, to see that none comes twice. */
  chunks: Run[];
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
  readonly #stepped: (bytes: number) => void;
  readonly #in = new Memory(SCRATCH_BYTES);
  readonly #out = new Memory(4096);
  readonly #pending = new Map<number, Pending>();
  /** Counts up for ever, so that a late or doubled reply never fits another request. */
  #next = 0;
  #queued = 0;
  #frame: Memory | undefined;
  #zstd: ZstdDecompressor | undefined;

  /** `stepped` is called after each step of content; it may wait, and throws to give up. */
  constructor(stream: ByteStream, agreement: Agreement, stepped: (bytes: number) => void = () => {}) {
    this.#stream = stream;
    this.#agreement = agreement;
    this.#stepped = stepped;
  }

  get inFlight(): number {
    return this.#pending.size;
  }

  /** Queues a READ; `flush` sends it. */
  read(offset: number, length: number, sink: ContentSink): PendingRead {
    return this.#read(NBD_CMD_READ, offset, length, sink);
  }

  /** Queues a request of a range's hash alone, at most BLOCK_BYTES of it; only where hashes were agreed on. */
  hash(offset: number, length: number): PendingRead {
    return this.#read(REHOST_CMD_HASH, offset, length, undefined);
  }

  #read(type: number, offset: number, length: number, sink: ContentSink | undefined): PendingRead {
    const pending: PendingRead = {
      kind: 'read',
      ...this.#cookie(),
      offset,
      length,
      sink,
      chunks: [],
      reached: 0,
      covered: 0,
      hash: undefined,
      error: undefined,
    };
    this.#queue(type, pending);
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
      // Part of what the option promises: content of one block at a time goes through this thread's one writer.
      if (this.#agreement.hashes && pending !== this.#pending.values().next().value) {
        throw violation(`A reply out of turn (cookie ${cookie}).`);
      }
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
    this.#receive(pending, 0, pending.length);
    pending.chunks.push({ start: 0, end: pending.length });
    pending.covered = pending.length;
    return true;
  }

  /** Content of a READ, from the stream to its sink. */
  #receive(pending: PendingRead, start: number, length: number): void {
    const { sink } = pending;
    if (!sink) throw violation('Content where a hash alone was asked for.');
    for (let done = 0; done < length; ) {
      const room = sink.room(start + done, length - done);
      this.#stream.readExact(room.address, room.length);
      sink.filled(start + done, room.length);
      this.#stepped(room.length);
      done += room.length;
    }
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
      const start = this.#take(pending, view.getBigUint64(0), length - 8);
      this.#receive(pending, start, length - 8);
    } else if (type === NBD_REPLY_TYPE_OFFSET_HOLE) {
      if (length !== 12) throw violation(`A hole chunk of ${length} bytes, not 12.`);
      this.#stream.readExact(this.#in.address, 12);
      const bytes = view.getUint32(8);
      const start = this.#take(pending, view.getBigUint64(0), bytes);
      if (!pending.sink) throw violation('Content where a hash alone was asked for.');
      pending.sink.hole(start, bytes);
    } else if (type === REHOST_REPLY_TYPE_ZSTD && this.#agreement.compression) {
      this.#compressed(pending, length);
    } else if (type === REHOST_REPLY_TYPE_HASH && this.#agreement.hashes) {
      const expected = 12 + REHOST_HASH_BYTES;
      if (length !== expected) throw violation(`A hash chunk of ${length} bytes, not ${expected}.`);
      this.#stream.readExact(this.#in.address, expected);
      const range = view.getBigUint64(0) === BigInt(pending.offset) && view.getUint32(8) === pending.length;
      if (!range || pending.hash) throw violation('A hash of another range, or a second one.');
      pending.hash = this.#in.bytes.slice(12, expected);
    } else throw violation(`A chunk of type ${type} in the reply to a READ.`);
  }

  #compressed(pending: PendingRead, length: number): void {
    const { view, address } = this.#in;
    if (length <= 12 || length >= 12 + STEP_BYTES) throw violation(`A compressed chunk of ${length} bytes.`);
    this.#stream.readExact(address, 12);
    const bytes = view.getUint32(8);
    if (bytes > STEP_BYTES) throw violation(`A compressed chunk of ${bytes} bytes of content.`);
    const start = this.#take(pending, view.getBigUint64(0), bytes);
    if (!pending.sink) throw violation('Content where a hash alone was asked for.');
    this.#frame ??= new Memory(STEP_BYTES);
    this.#zstd ??= new ZstdDecompressor();
    this.#stream.readExact(this.#frame.address, length - 12);
    const room = pending.sink.room(start, bytes);
    if (room.length < bytes) throw new RehostError('INTERNAL', `A sink has room for ${room.length} of ${bytes} bytes.`);
    if (this.#zstd.decompress(room.address, bytes, this.#frame.address, length - 12) !== bytes) {
      throw violation(`A compressed chunk at ${pending.offset + start} is damaged or of another length.`);
    }
    pending.sink.filled(start, bytes);
    this.#stepped(bytes);
  }

  /** Checks a chunk's range and notes it; returns its start relative to the request. */
  #take(pending: PendingRead, offset: bigint, length: number): number {
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
    // Where hashes were agreed on the order was as well: content is then written as it arrives.
    if (this.#agreement.hashes && start !== pending.reached) throw violation(`A chunk at ${offset} is out of order.`);
    pending.chunks.push({ start, end });
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
    if (pending.sink && pending.covered !== pending.length) {
      throw violation(`A READ of ${pending.length} bytes at ${pending.offset} was answered with ${pending.covered}.`);
    }
    if (this.#agreement.hashes && !pending.hash) throw violation('A reply without the hash that was agreed on.');
  }

  /** Frees the memory for headers. Idempotent. */
  free(): void {
    this.#in.free();
    this.#out.free();
    this.#frame?.free();
    this.#zstd?.free();
  }
}
