/** XXH3-128 and XXH64 from libxxhash (Debian: libxxhash0). Not cryptographic: it finds damage, not forgery; TLS is what guards the wire. */
import koffi, { type KoffiFunc } from 'koffi';
import type { Address } from './memory.ts';

interface Halves {
  low64: number | bigint;
  high64: number | bigint;
}

const library = koffi.load('libxxhash.so.0');
koffi.struct('XXH128_hash_t', { low64: 'uint64_t', high64: 'uint64_t' });
/**
 * The function of this name that suits the CPU: on x86-64 the library has a second one that takes AVX2 or AVX-512 where they
 * are, the same hash 4 times as fast (78 instead of 18 GB/s with AVX-512). Elsewhere there is only the plain one.
 */
function fastest(result: string, name: string, parameters: string): unknown {
  try {
    return library.func(`${result} ${name}_dispatch${parameters}`);
  } catch {
    return library.func(`${result} ${name}${parameters}`);
  }
}

/** Reads the memory during the call only. Any thread. */
const oneShot = fastest('XXH128_hash_t', 'XXH3_128bits', '(uintptr_t data, size_t bytes)') as KoffiFunc<
  (data: Address, bytes: number) => Halves
>;
/** Reads the array during the call only, in place. Any thread. */
const oneShot64 = library.func('uint64_t XXH64(const void *data, size_t bytes, uint64_t seed)') as KoffiFunc<
  (data: Uint8Array, bytes: number, seed: number) => number | bigint
>;
/** Returns a state that the caller owns until XXH3_freeState; one thread at a time. */
const createState = library.func('uintptr_t XXH3_createState()') as KoffiFunc<() => Address>;
const freeState = library.func('int XXH3_freeState(uintptr_t state)') as KoffiFunc<(state: Address) => number>;
const reset = library.func('int XXH3_128bits_reset(uintptr_t state)') as KoffiFunc<(state: Address) => number>;
/** Reads the memory during the call only. */
const update = fastest('int', 'XXH3_128bits_update', '(uintptr_t state, uintptr_t data, size_t bytes)') as KoffiFunc<
  (state: Address, data: Address, bytes: number) => number
>;
const digest = library.func('XXH128_hash_t XXH3_128bits_digest(uintptr_t state)') as KoffiFunc<
  (state: Address) => Halves
>;

/** The canonical form of xxhash's own documentation: the high half first, both big-endian. */
function canonical(halves: Halves, into: DataView, position: number): void {
  into.setBigUint64(position, BigInt(halves.high64));
  into.setBigUint64(position + 8, BigInt(halves.low64));
}

/** Writes the canonical XXH3-128 of `bytes` bytes at `address` to 16 bytes of `into` at `position`. */
export function xxh3At(address: Address, bytes: number, into: DataView, position: number): void {
  canonical(oneShot(address, bytes), into, position);
}

/** XXH64 of `bytes` with seed 0, as file systems store it. */
export function xxh64(bytes: Uint8Array): bigint {
  return BigInt(oneShot64(bytes, bytes.length, 0));
}

/** XXH3-128 of a stream. Owned by one thread; `free` ends it. */
export class Xxh3Stream {
  #state: Address;

  constructor() {
    this.#state = createState();
    if (this.#state === 0) throw new Error('XXH3_createState: no memory');
    reset(this.#state);
  }

  /** Adds `bytes` bytes at `address`; the memory is read during the call only. */
  add(address: Address, bytes: number): void {
    update(this.#state, address, bytes);
  }

  /** Writes the canonical hash of all that was added since the last `digest`, and begins anew. */
  digest(into: DataView, position: number): void {
    canonical(digest(this.#state), into, position);
    reset(this.#state);
  }

  /** Forgets what was added. */
  reset(): void {
    reset(this.#state);
  }

  /** Frees the state; nothing may be called after it. Idempotent. */
  free(): void {
    if (this.#state !== 0) freeState(this.#state);
    this.#state = 0;
  }
}
