/** Judges a server's transmission phase from outside: every request that it took against the answer that it gave. */

import { zstdDecompressSync } from 'node:zlib';
import type { Negotiated } from '../../../agent/export/negotiate.ts';
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_DISC,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_EOVERFLOW,
  NBD_MAX_READ_BYTES,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_ERROR_OFFSET,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_REQUEST_MAGIC,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STATE_ZERO,
  NBD_STRUCTURED_REPLY_MAGIC,
  REHOST_CMD_HASH,
  REHOST_REPLY_TYPE_HASH,
  REHOST_REPLY_TYPE_ZSTD,
} from '../../../appliance/api/nbd.ts';
import { must } from '../engine/violation.ts';
import type { Cursor } from './bytes.ts';
import type { ExportTruth } from './exports.ts';
import { hashOf } from './hash.ts';

interface Request {
  flags: number;
  type: number;
  cookie: bigint;
  offset: bigint;
  length: number;
}

/** Are all of bytes[start, end) this value? */
function isAll(bytes: Buffer, start: number, end: number, value: number): boolean {
  return bytes.subarray(start, end).equals(Buffer.alloc(end - start, value));
}

function nextRequest(from: Cursor): Request | undefined {
  const head = from.take(28);
  if (!head || head.readUInt32BE(0) !== NBD_REQUEST_MAGIC) return undefined;
  return {
    flags: head.readUInt16BE(4),
    type: head.readUInt16BE(6),
    cookie: head.readBigUInt64BE(8),
    offset: head.readBigUInt64BE(16),
    length: head.readUInt32BE(24),
  };
}

/** One answer's judge. */
class Answer {
  readonly #request: Request;
  readonly #given: Cursor;
  readonly #truth: ExportTruth;
  readonly #negotiated: Negotiated;
  readonly #inside: boolean;

  constructor(request: Request, given: Cursor, truth: ExportTruth, negotiated: Negotiated) {
    this.#request = request;
    this.#given = given;
    this.#truth = truth;
    this.#negotiated = negotiated;
    this.#inside = request.length > 0 && request.offset + BigInt(request.length) <= BigInt(truth.sizeBytes);
  }

  /** May this request be served, and may it fail? */
  #mayServe(): boolean {
    const { type, flags } = this.#request;
    const { structured, allocation, hashes } = this.#negotiated;
    if (type === REHOST_CMD_HASH) return hashes && this.#inside && flags === 0;
    if (type === NBD_CMD_READ) return this.#inside && (flags & ~(structured ? 4 : 0)) === 0;
    return type === NBD_CMD_BLOCK_STATUS && allocation && this.#inside && (flags & ~8) === 0;
  }

  #mayFail(errno: number): boolean {
    if (!this.#mayServe()) return true;
    // Reads go to whole sectors, and status looks at all that it was asked about.
    const end = Math.ceil((Number(this.#request.offset) + this.#request.length) / 512) * 512;
    return end > this.#truth.brokenFrom || errno === NBD_EOVERFLOW;
  }

  #error(errno: number): void {
    must(errno !== 0, 'an error reply without an error');
    must(this.#mayFail(errno), `a good request was refused with ${errno}`);
  }

  judge(): void {
    if (this.#negotiated.structured) this.#chunks();
    else this.#simple();
  }

  #simple(): void {
    const head = this.#given.take(16);
    must(head?.readUInt32BE(0) === NBD_SIMPLE_REPLY_MAGIC, 'no simple reply, or one that is cut off');
    must(head.readBigUInt64BE(8) === this.#request.cookie, 'the cookie of another request');
    const errno = head.readUInt32BE(4);
    if (errno !== 0) {
      this.#error(errno);
      return;
    }
    must(this.#mayServe(), 'a bad request was served');
    const { offset, length } = this.#request;
    const start = Number(offset);
    const data = this.#given.take(length);
    must(data !== undefined, 'a reply whose data is cut off');
    must(data.equals(this.#truth.content.subarray(start, start + length)), 'data that the export does not have');
  }

  #chunks(): void {
    const { cookie, offset, length, type: asked } = this.#request;
    const covered = Buffer.alloc(this.#inside ? length : 0);
    let failed = false;
    let status = false;
    let hash = false;
    for (let done = false; !done; ) {
      const head = this.#given.take(20);
      must(head?.readUInt32BE(0) === NBD_STRUCTURED_REPLY_MAGIC, 'no chunk, or one that is cut off');
      must(head.readBigUInt64BE(8) === cookie, 'a chunk with the cookie of another request');
      const flags = head.readUInt16BE(4);
      must((flags & ~1) === 0, `chunk flags ${flags}`);
      done = flags === 1;
      const type = head.readUInt16BE(6);
      const payload = this.#given.take(head.readUInt32BE(16));
      must(payload !== undefined, 'a chunk whose payload is cut off');
      if (type === NBD_REPLY_TYPE_ERROR || type === NBD_REPLY_TYPE_ERROR_OFFSET) {
        this.#errorChunk(payload, type === NBD_REPLY_TYPE_ERROR_OFFSET);
        failed = true;
      } else {
        must(this.#mayServe(), `a bad request was answered with a chunk of type ${type}`);
        if (type === NBD_REPLY_TYPE_BLOCK_STATUS && asked === NBD_CMD_BLOCK_STATUS) {
          must(!status, 'two status chunks');
          status = true;
          this.#status(payload);
        } else if (type === REHOST_REPLY_TYPE_HASH && this.#negotiated.hashes && asked !== NBD_CMD_BLOCK_STATUS) {
          const start = Number(offset);
          must(payload.length === 28 && payload.readBigUInt64BE(0) === offset, 'a hash of another range');
          must(payload.readUInt32BE(8) === length && !hash, 'a hash of another length, or a second one');
          const own = hashOf(this.#truth.content.subarray(start, start + length));
          must(payload.subarray(12).equals(own), 'a hash of something else');
          hash = true;
        } else this.#content(type, payload, covered);
      }
    }
    if (failed) return;
    if (asked === NBD_CMD_BLOCK_STATUS) must(status, 'a status without one');
    else {
      const content = asked === NBD_CMD_READ ? 1 : 0;
      must(isAll(covered, 0, covered.length, content), 'a READ that was not answered in full, or content unasked');
      must(hash === this.#negotiated.hashes, 'a READ without the hash that was negotiated');
    }
  }

  #errorChunk(payload: Buffer, withOffset: boolean): void {
    must(payload.length >= 6, 'a short error chunk');
    const text = payload.readUInt16BE(4);
    must(payload.length === 6 + text + (withOffset ? 8 : 0), 'an error chunk of another length than its text');
    this.#error(payload.readUInt32BE(0));
    if (!withOffset) return;
    const at = payload.readBigUInt64BE(6 + text);
    const { offset, length } = this.#request;
    must(at >= offset && at < offset + BigInt(length), 'an error outside of the request');
  }

  #content(type: number, payload: Buffer, covered: Buffer): void {
    const { offset } = this.#request;
    const compressed = type === REHOST_REPLY_TYPE_ZSTD && this.#negotiated.compression;
    const data = type === NBD_REPLY_TYPE_OFFSET_DATA;
    must(compressed || data || type === NBD_REPLY_TYPE_OFFSET_HOLE, `a chunk of type ${type}`);
    must(this.#request.type === NBD_CMD_READ, 'data that nobody asked for');
    if (data) must(payload.length > 8, 'a data chunk without data');
    else must(compressed ? payload.length > 12 : payload.length === 12, 'a chunk of another length');
    const from = Number(payload.readBigUInt64BE(0) - offset);
    const length = data ? payload.length - 8 : payload.readUInt32BE(8);
    must(length > 0 && from >= 0 && from + length <= covered.length, 'a chunk outside of the request');
    const ordered = !this.#negotiated.hashes || from === 0 || covered[from - 1] === 1;
    must(ordered, 'a chunk out of the order that comes with hashes');
    const start = Number(offset) + from;
    const truth = this.#truth.content.subarray(start, start + length);
    const told = data ? payload.subarray(8) : Buffer.alloc(length);
    const content = compressed ? zstdDecompressSync(payload.subarray(12)) : told;
    must(content.equals(truth), 'data that the export does not have');
    must(isAll(covered, from, from + length, 0), 'bytes that were answered twice');
    covered.fill(1, from, from + length);
  }

  #status(payload: Buffer): void {
    const { offset, length, flags } = this.#request;
    must(payload.length >= 12 && payload.length % 8 === 4, 'a status of an odd length');
    must((flags & 8) === 0 || payload.length === 12, 'more than one descriptor where one was asked for');
    let at = Number(offset);
    const end = at + length;
    for (let i = 4; i < payload.length; i += 8) {
      const bytes = payload.readUInt32BE(i);
      must(bytes > 0 && at + bytes <= end, 'a descriptor of nothing, or beyond the request');
      const zero = (payload.readUInt32BE(i + 4) & NBD_STATE_ZERO) !== 0;
      const truth = this.#truth.content.subarray(at, at + bytes);
      must(!zero || isAll(truth, 0, truth.length, 0), 'data that was called zero');
      at += bytes;
    }
  }
}

/** Violation unless every request that was taken got one good answer and nothing else was sent. Returns the number of requests. */
export function judgeTransmission(taken: Cursor, given: Cursor, truth: ExportTruth, negotiated: Negotiated): number {
  let count = 0;
  for (let request = nextRequest(taken); request; request = nextRequest(taken)) {
    if (request.type === NBD_CMD_DISC) break;
    if (request.type === NBD_CMD_WRITE) {
      // Its payload is to be read; the connection ends where there is too much, or where it does not come.
      if (request.length > NBD_MAX_READ_BYTES || !taken.take(request.length)) break;
    }
    count++;
    new Answer(request, given, truth, negotiated).judge();
  }
  must(given.left === 0, `${given.left} bytes that answer no request`);
  return count;
}
