/** The transmission phase of one connection: requests one after the other, each judged before any I/O. */
import {
  NBD_CMD_FLAG_DF,
  NBD_EIO,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_ERROR_OFFSET,
  NBD_REPLY_TYPE_OFFSET_DATA,
} from '../../appliance/api/nbd.ts';
import { Content } from './content.ts';
import type { MessageIo } from './io.ts';
import { ALLOCATION_CONTEXT_ID, ClientFault, type Negotiated } from './negotiate.ts';
import { type DiskReader, ReadFault } from './reader.ts';
import { blockStatus } from './status.ts';
import { validateRequest } from './validate.ts';
import * as wire from './wire.ts';

/** Serves requests until the client disconnects. ClientFault, StreamError or SysError end the connection otherwise. */
export class Transmission {
  readonly #io: MessageIo;
  readonly #reader: DiskReader;
  readonly #negotiated: Negotiated;
  readonly #progress: () => void;
  readonly #content: Content;

  /** `progress` is called after every request. Everything stays the caller's; `free` ends the rest. */
  constructor(io: MessageIo, reader: DiskReader, negotiated: Negotiated, progress: () => void) {
    this.#io = io;
    this.#reader = reader;
    this.#negotiated = negotiated;
    this.#progress = progress;
    this.#content = new Content(io, reader, negotiated);
  }

  /** Returns when the client said goodbye. */
  run(): void {
    const rules = {
      sizeBytes: this.#reader.map.sizeBytes,
      structured: this.#negotiated.structured,
      allocation: this.#negotiated.allocation,
      hashes: this.#negotiated.hashes,
    };
    for (;;) {
      const request = wire.readRequest(this.#io.view(wire.REQUEST_BYTES));
      if (!request) throw new ClientFault('A request has the wrong magic.');
      const verdict = validateRequest(request, rules);
      switch (verdict.kind) {
        case 'disconnect':
          return;
        case 'broken':
          throw new ClientFault(verdict.message);
        case 'refused':
          this.#io.skip(verdict.payload);
          this.#error(request.cookie, verdict.errno, verdict.message);
          break;
        case 'read':
          this.#guarded(request.cookie, verdict.offset, () =>
            this.#read(request.cookie, verdict.offset, verdict.length, (request.flags & NBD_CMD_FLAG_DF) !== 0),
          );
          break;
        case 'hash':
          this.#guarded(request.cookie, verdict.offset, () =>
            this.#content.sendHash(request.cookie, verdict.offset, verdict.length),
          );
          break;
        case 'status':
          this.#guarded(request.cookie, verdict.offset, () =>
            this.#status(request.cookie, verdict.offset, verdict.length, verdict.one),
          );
          break;
      }
      this.#io.stream.flush();
      this.#progress();
    }
  }

  /** A disk that cannot be read is answered with EIO and where, also in the middle of a reply: its chunks then count for nothing. */
  #guarded(cookie: bigint, from: number, serve: () => void): void {
    try {
      serve();
    } catch (error) {
      if (!(error instanceof ReadFault)) throw error;
      // The read was aligned and may have begun before what was asked for.
      this.#error(cookie, NBD_EIO, error.message, Math.max(from, error.offset));
    }
  }

  #error(cookie: bigint, errno: number, message: string, offset?: number): void {
    const { out, stream } = this.#io;
    if (!this.#negotiated.structured) {
      stream.write(out.address, wire.simpleReply(out.view, 0, cookie, errno));
      return;
    }
    const text = Buffer.from(message, 'utf8').subarray(0, 1024);
    const length = 6 + text.length + (offset === undefined ? 0 : 8);
    const type = offset === undefined ? NBD_REPLY_TYPE_ERROR : NBD_REPLY_TYPE_ERROR_OFFSET;
    const at = wire.chunkHeader(out.view, 0, cookie, NBD_REPLY_FLAG_DONE, type, length);
    out.view.setUint32(at, errno);
    out.view.setUint16(at + 4, text.length);
    out.bytes.set(text, at + 6);
    if (offset !== undefined) out.view.setBigUint64(at + 6 + text.length, BigInt(offset));
    stream.write(out.address, at + length);
  }

  #read(cookie: bigint, offset: number, length: number, whole: boolean): void {
    const { out, stream } = this.#io;
    if (this.#negotiated.structured && !whole) {
      this.#content.send(cookie, offset, length);
      return;
    }
    // No error can follow once the reply has begun: all of it is read before.
    const start = this.#reader.fill(offset, length);
    const { memory } = this.#reader;
    if (!this.#negotiated.structured) stream.write(out.address, wire.simpleReply(out.view, 0, cookie, 0));
    else {
      const last = this.#negotiated.hashes ? 0 : NBD_REPLY_FLAG_DONE;
      const head = wire.chunkHeader(out.view, 0, cookie, last, NBD_REPLY_TYPE_OFFSET_DATA, 8 + length);
      out.view.setBigUint64(head, BigInt(offset));
      stream.write(out.address, head + 8);
    }
    stream.write(memory.address + start, length);
    if (this.#negotiated.hashes) this.#content.sendHash(cookie, offset, length);
  }

  #status(cookie: bigint, offset: number, length: number, one: boolean): void {
    const { out, stream } = this.#io;
    const descriptors = blockStatus(this.#reader, offset, length, one, !this.#negotiated.hashes);
    const payload = 4 + 8 * descriptors.length;
    let at = wire.chunkHeader(out.view, 0, cookie, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_BLOCK_STATUS, payload);
    out.view.setUint32(at, ALLOCATION_CONTEXT_ID);
    at += 4;
    for (const { length: bytes, flags } of descriptors) {
      out.view.setUint32(at, bytes);
      out.view.setUint32(at + 4, flags);
      at += 8;
    }
    stream.write(out.address, at);
  }

  /** Frees what it made. Idempotent. */
  free(): void {
    this.#content.free();
  }
}
