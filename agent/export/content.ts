/**
 * The content of one READ on its way to the peer, in steps: read, looked through for zeros, hashed and sent while it is still in the
 * CPU's cache. Zeros are gathered to holes over the borders of steps; data is compressed where that was agreed on and pays.
 */
import {
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  REHOST_HASH_BYTES,
  REHOST_REPLY_TYPE_HASH,
  REHOST_REPLY_TYPE_ZSTD,
} from '../../appliance/api/nbd.ts';
import { STEP_BYTES, ZERO_GRAIN_BYTES } from '../../appliance/api/transfer.ts';
import { zeroRuns } from '../../native/bytes.ts';
import { type Address, Memory } from '../../native/memory.ts';
import { Xxh3Stream } from '../../native/xxhash.ts';
import { ZstdCompressor } from '../../native/zstd.ts';
import { CompressionPolicy } from './compression.ts';
import type { MessageIo } from './io.ts';
import type { DiskReader } from './reader.ts';
import * as wire from './wire.ts';

/** Less than this is not worth a frame of its own, bytes. */
const COMPRESS_MIN_BYTES = 8 * 1024;
/** zstd's fastest regular level: on the links where compression pays, higher ones cost more time than they save. */
const LEVEL = 1;

/** Of one connection; owned by its thread, ended by `free`. */
export class Content {
  readonly #io: MessageIo;
  readonly #reader: DiskReader;
  readonly #hashes: boolean;
  readonly #hash = new Xxh3Stream();
  readonly #policy = new CompressionPolicy();
  readonly #zstd: ZstdCompressor | undefined;
  readonly #frame: Memory | undefined;
  /** Zeros that were found and not yet told, disk offsets. */
  #holeStart = 0;
  #holeEnd = 0;

  constructor(io: MessageIo, reader: DiskReader, agreed: { hashes: boolean; compression: boolean }) {
    this.#io = io;
    this.#reader = reader;
    this.#hashes = agreed.hashes;
    if (!agreed.compression) return;
    this.#zstd = new ZstdCompressor();
    this.#frame = new Memory(STEP_BYTES);
  }

  /**
   * Sends the chunks of [offset, offset + length), the last of them marked so. ReadFault when the disk cannot be read; the reply
   * then goes on with the error, and what was sent of it counts for nothing.
   */
  send(cookie: bigint, offset: number, length: number): void {
    const end = offset + length;
    this.#holeStart = this.#holeEnd = offset;
    for (let at = offset; at < end; ) {
      // On the disk's own grid, so that reads of a whole block are aligned.
      const stop = Math.min(end, at - (at % STEP_BYTES) + STEP_BYTES);
      this.#step(cookie, at, stop - at, end);
      at = stop;
    }
    this.#tellHole(cookie, end);
    if (this.#hashes) this.#tellHash(cookie, offset, length);
  }

  /** Answers a range with its hash alone. ReadFault as in `send`. */
  sendHash(cookie: bigint, offset: number, length: number): void {
    for (let at = offset; at < offset + length; ) {
      const stop = Math.min(offset + length, at - (at % STEP_BYTES) + STEP_BYTES);
      const start = this.#fill(at, stop - at);
      this.#hash.add(this.#reader.memory.address + start, stop - at);
      at = stop;
    }
    this.#tellHash(cookie, offset, length);
  }

  #step(cookie: bigint, offset: number, length: number, end: number): void {
    const start = this.#fill(offset, length);
    const { memory } = this.#reader;
    if (this.#hashes) this.#hash.add(memory.address + start, length);
    let at = start;
    for (const run of zeroRuns(memory, start, length, ZERO_GRAIN_BYTES, offset)) {
      this.#data(cookie, offset + at - start, memory.address + at, run.start - at, end);
      const holeAt = offset + run.start - start;
      if (holeAt !== this.#holeEnd) this.#holeStart = holeAt;
      this.#holeEnd = holeAt + run.end - run.start;
      at = run.end;
    }
    this.#data(cookie, offset + at - start, memory.address + at, start + length - at, end);
  }

  /** A failed read leaves a half hash behind: it is not to be mixed into the next one. */
  #fill(offset: number, length: number): number {
    try {
      return this.#reader.fill(offset, length);
    } catch (error) {
      this.#hash.reset();
      throw error;
    }
  }

  #data(cookie: bigint, offset: number, address: Address, length: number, end: number): void {
    if (length === 0) return;
    this.#tellHole(cookie, end);
    const flags = !this.#hashes && offset + length === end ? NBD_REPLY_FLAG_DONE : 0;
    const frame = this.#compress(address, length);
    const { out, stream } = this.#io;
    const type = frame === 0 ? NBD_REPLY_TYPE_OFFSET_DATA : REHOST_REPLY_TYPE_ZSTD;
    const payload = frame === 0 ? length : frame;
    const fields = frame === 0 ? 8 : 12;
    const head = wire.chunkHeader(out.view, 0, cookie, flags, type, fields + payload);
    out.view.setBigUint64(head, BigInt(offset));
    if (frame !== 0) out.view.setUint32(head + 8, length);
    const before = performance.now();
    stream.write(out.address, head + fields);
    stream.write(frame === 0 ? address : (this.#frame?.address ?? 0), payload);
    this.#policy.sent(payload, (performance.now() - before) * 1e6);
    this.#holeStart = this.#holeEnd = offset + length;
  }

  /** The length of the frame in `#frame`, or 0 when the data goes as it is. */
  #compress(address: Address, length: number): number {
    if (!this.#zstd || !this.#frame || length < COMPRESS_MIN_BYTES || !this.#policy.want()) return 0;
    const before = performance.now();
    // What saves less than a sixteenth costs the peer more than it saves.
    const frame = this.#zstd.compress(this.#frame.address, length - (length >> 4), address, length, LEVEL);
    this.#policy.compressed(length, frame === 0 ? length : frame, (performance.now() - before) * 1e6);
    return frame;
  }

  #tellHole(cookie: bigint, end: number): void {
    const length = this.#holeEnd - this.#holeStart;
    if (length === 0) return;
    const { out, stream } = this.#io;
    const flags = !this.#hashes && this.#holeEnd === end ? NBD_REPLY_FLAG_DONE : 0;
    const head = wire.chunkHeader(out.view, 0, cookie, flags, NBD_REPLY_TYPE_OFFSET_HOLE, 12);
    out.view.setBigUint64(head, BigInt(this.#holeStart));
    out.view.setUint32(head + 8, length);
    stream.write(out.address, head + 12);
    this.#holeStart = this.#holeEnd;
  }

  #tellHash(cookie: bigint, offset: number, length: number): void {
    const { out, stream } = this.#io;
    const payload = 12 + REHOST_HASH_BYTES;
    const head = wire.chunkHeader(out.view, 0, cookie, NBD_REPLY_FLAG_DONE, REHOST_REPLY_TYPE_HASH, payload);
    out.view.setBigUint64(head, BigInt(offset));
    out.view.setUint32(head + 8, length);
    this.#hash.digest(out.view, head + 12);
    stream.write(out.address, head + payload);
  }

  /** Idempotent. */
  free(): void {
    this.#hash.free();
    this.#zstd?.free();
    this.#frame?.free();
  }
}
