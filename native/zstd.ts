/** zstd from Node itself, which exports its symbols: no second copy, no version to match. One-shot frames between caller's memories. */
import koffi, { type KoffiFunc } from 'koffi';
import type { Address } from './memory.ts';

const process_ = koffi.load(null);
/** The caller owns a context until it is freed; one thread at a time. */
const createCompress = process_.func('uintptr_t ZSTD_createCCtx()') as KoffiFunc<() => Address>;
const freeCompress = process_.func('size_t ZSTD_freeCCtx(uintptr_t context)') as KoffiFunc<
  (context: Address) => number
>;
/** Reads and fills caller's memory during the call. */
const compressFrame = process_.func(
  'size_t ZSTD_compressCCtx(uintptr_t context, uintptr_t into, size_t room, uintptr_t from, size_t bytes, int level)',
) as KoffiFunc<
  (context: Address, into: Address, room: number, from: Address, bytes: number, level: number) => number | bigint
>;
const createDecompress = process_.func('uintptr_t ZSTD_createDCtx()') as KoffiFunc<() => Address>;
const freeDecompress = process_.func('size_t ZSTD_freeDCtx(uintptr_t context)') as KoffiFunc<
  (context: Address) => number
>;
/** Never writes beyond `room`; damaged input gives an error. */
const decompressFrame = process_.func(
  'size_t ZSTD_decompressDCtx(uintptr_t context, uintptr_t into, size_t room, uintptr_t from, size_t bytes)',
) as KoffiFunc<(context: Address, into: Address, room: number, from: Address, bytes: number) => number | bigint>;
const isError = process_.func('unsigned int ZSTD_isError(size_t result)') as KoffiFunc<
  (result: number | bigint) => number
>;

/** Compresses frames. Owned by one thread; `free` ends it. */
export class ZstdCompressor {
  #context: Address;

  constructor() {
    this.#context = createCompress();
    if (this.#context === 0) throw new Error('ZSTD_createCCtx: no memory');
  }

  /** Compresses `bytes` bytes at `from` into at most `room` bytes at `into`; the frame's length, or 0 when it does not fit. */
  compress(into: Address, room: number, from: Address, bytes: number, level: number): number {
    const result = compressFrame(this.#context, into, room, from, bytes, level);
    return isError(result) === 0 ? Number(result) : 0;
  }

  /** Idempotent. */
  free(): void {
    if (this.#context !== 0) freeCompress(this.#context);
    this.#context = 0;
  }
}

/** Decompresses frames. Owned by one thread; `free` ends it. */
export class ZstdDecompressor {
  #context: Address;

  constructor() {
    this.#context = createDecompress();
    if (this.#context === 0) throw new Error('ZSTD_createDCtx: no memory');
  }

  /** Decompresses what `bytes` bytes at `from` hold into at most `room` bytes at `into`; its length, or undefined when the frame is damaged or larger. */
  decompress(into: Address, room: number, from: Address, bytes: number): number | undefined {
    const result = decompressFrame(this.#context, into, room, from, bytes);
    return isError(result) === 0 ? Number(result) : undefined;
  }

  /** Idempotent. */
  free(): void {
    if (this.#context !== 0) freeDecompress(this.#context);
    this.#context = 0;
  }
}
