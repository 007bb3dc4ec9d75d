/** One connection's stream with the memory for its small messages. Owned by the connection's thread. */
import { Memory } from '../../native/memory.ts';
import type { ByteStream } from '../../native/stream.ts';

const CONTROL_BYTES = 64 * 1024;

/** Reads and writes small messages; the data of READ goes by address instead (`stream`). */
export class MessageIo {
  #stream: ByteStream;
  #wireBefore = 0;
  readonly #in = new Memory(CONTROL_BYTES);
  readonly #out = new Memory(CONTROL_BYTES);

  constructor(stream: ByteStream) {
    this.#stream = stream;
  }

  get stream(): ByteStream {
    return this.#stream;
  }

  /** Goes on with another stream over the same socket: the encrypted one. */
  upgrade(stream: ByteStream): void {
    this.#wireBefore = this.wire;
    this.#stream = stream;
  }

  /** Bytes on the wire of this connection, both directions. */
  get wire(): number {
    return this.#wireBefore + this.#stream.wireIn + this.#stream.wireOut;
  }

  /** Where outgoing headers can be built: until the next call of `write` or `send`. */
  get out(): Memory {
    return this.#out;
  }

  /** The next `bytes` bytes, valid until the next call. */
  view(bytes: number): DataView {
    this.stream.readExact(this.#in.address, bytes);
    return this.#in.view;
  }

  /** A copy of the next `bytes` bytes, at most 64 KiB. */
  take(bytes: number): Buffer {
    if (bytes > CONTROL_BYTES) throw new RangeError(`A message of ${bytes} bytes; the limit is ${CONTROL_BYTES}.`);
    if (bytes === 0) return Buffer.alloc(0);
    this.stream.readExact(this.#in.address, bytes);
    return Buffer.from(this.#in.bytes.slice(0, bytes).buffer);
  }

  /** Reads and forgets. */
  skip(bytes: number): void {
    for (let left = bytes; left > 0; ) {
      const step = Math.min(left, CONTROL_BYTES);
      this.stream.readExact(this.#in.address, step);
      left -= step;
    }
  }

  /** Sends a small message at once. */
  send(message: Uint8Array): void {
    this.#out.bytes.set(message);
    this.stream.write(this.#out.address, message.length);
    this.stream.flush();
  }

  /** Scratch for one byte. */
  get scratch(): number {
    return this.#in.address;
  }

  /** Closes the stream and frees the memory. Idempotent. */
  close(): void {
    this.stream.close();
    this.#in.free();
    this.#out.free();
  }
}
