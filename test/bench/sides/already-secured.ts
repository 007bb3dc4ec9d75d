/**
 * A plain stream that looks to the server's negotiation as if the client had asked for TLS: behind the client's flags it
 * reads a STARTTLS that nobody sent, and keeps the answer to it. What comes after is the client's own.
 */
import koffi, { type KoffiFunc } from 'koffi';
import { NBD_OPT_STARTTLS } from '../../../appliance/api/nbd.ts';
import { type Address, Memory } from '../../../native/memory.ts';
import type { ByteStream } from '../../../native/stream.ts';
import { option } from '../../../receiver/copy/wire.ts';

/** Both ranges are the caller's and do not overlap. */
const memcpy = koffi.load(null).func('uintptr_t memcpy(uintptr_t into, uintptr_t from, size_t bytes)') as KoffiFunc<
  (into: Address, from: Address, bytes: number) => number
>;

const CLIENT_FLAGS_BYTES = 4;

export class AlreadySecured implements ByteStream {
  /** None: the negotiation looks here for bytes that were injected before TLS, and the client's next option is no injection. */
  readonly fd = -1;
  readonly #plain: ByteStream;
  readonly #starttls = new Memory(64);
  #read = 0;

  /** Takes ownership of the plain stream until the negotiation goes on with it. */
  constructor(plain: ByteStream) {
    this.#plain = plain;
    this.#starttls.bytes.set(option(NBD_OPT_STARTTLS));
  }

  get wireIn(): number {
    return this.#plain.wireIn;
  }

  get wireOut(): number {
    return this.#plain.wireOut;
  }

  readExact(address: Address, bytes: number): void {
    if (this.#read < CLIENT_FLAGS_BYTES) this.#plain.readExact(address, bytes);
    else memcpy(address, this.#starttls.address + this.#read - CLIENT_FLAGS_BYTES, bytes);
    this.#read += bytes;
  }

  write(address: Address, bytes: number): void {
    // The greeting comes before the flags; the one answer after them is that to STARTTLS.
    if (this.#read < CLIENT_FLAGS_BYTES) this.#plain.write(address, bytes);
  }

  flush(): void {
    this.#plain.flush();
  }

  close(): void {
    this.#plain.close();
  }
}
