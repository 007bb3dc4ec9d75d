/** Pseudo-random numbers that come again with the same seed (xoshiro128**, https://prng.di.unimi.it/). */

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

/** Numbers at which length and offset checks tend to be wrong. */
const INTERESTING = [
  0,
  1,
  2,
  3,
  4,
  7,
  8,
  12,
  15,
  16,
  20,
  27,
  28,
  31,
  32,
  63,
  64,
  127,
  128,
  255,
  256,
  511,
  512,
  1023,
  1024,
  4095,
  4096,
  4097,
  8192,
  16383,
  16384,
  16385,
  32767,
  32768,
  65535,
  65536,
  65537,
  131072,
  1048575,
  1048576,
  1048577,
  2 ** 22,
  2 ** 25,
  2 ** 25 + 1,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 4096,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 53 - 1,
  2 ** 53,
] as const;

export class Random {
  readonly #state: Uint32Array;

  constructor(seed: number) {
    this.#state = Uint32Array.from({ length: 4 }, (_, i) => Math.imul(seed + i + 1, 0x9e3779b1) ^ (seed >>> 3));
    for (let i = 0; i < 16; i++) this.#next();
  }

  #next(): number {
    const s = this.#state;
    const [a = 0, b = 0, c = 0, d = 0] = s;
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0;
    s[2] = c ^ a;
    s[3] = d ^ b;
    s[1] = b ^ (s[2] ?? 0);
    s[0] = a ^ (s[3] ?? 0);
    s[2] = (s[2] ?? 0) ^ (b << 9);
    s[3] = rotate(s[3] ?? 0, 11);
    return result;
  }

  /** 0 to `count` - 1; 0 when `count` is 0. */
  below(count: number): number {
    return Math.floor((this.#next() / 2 ** 32) * count);
  }

  /** True once in `count` times. */
  once(count: number): boolean {
    return this.below(count) === 0;
  }

  pick<T>(from: readonly [T, ...T[]]): T {
    return from[this.below(from.length)] ?? from[0];
  }

  interesting(): number {
    return this.pick(INTERESTING);
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.alloc(length);
    for (let i = 0; i < length; i++) bytes[i] = this.#next();
    return bytes;
  }
}
