/** Ranges in use, as the map's answers bring them. */
import { ALIGN_BYTES } from './plan.ts';

/** Ranges that are kept apart; a source more fragmented than this has its further gaps copied along. 16 MiB. */
const RANGES_MAX = 1024 * 1024;

/** Collects used ranges in ascending order, rounded outwards to ALIGN_BYTES and joined where they touch. */
export class UsedRanges {
  readonly #sizeBytes: number;
  #pairs = new Float64Array(2 * 1024);
  #count = 0;

  constructor(sizeBytes: number) {
    this.#sizeBytes = sizeBytes;
  }

  /** Adds [start, end), bytes, 0 <= start < end <= size. */
  add(start: number, end: number): void {
    const from = start - (start % ALIGN_BYTES);
    const to = Math.min(this.#sizeBytes, Math.ceil(end / ALIGN_BYTES) * ALIGN_BYTES);
    const last = this.#count === 0 ? -1 : (this.#pairs[2 * this.#count - 1] ?? -1);
    if (this.#count > 0 && (from <= last || this.#count === RANGES_MAX)) {
      this.#pairs[2 * this.#count - 1] = Math.max(last, to);
      return;
    }
    if (2 * this.#count === this.#pairs.length) {
      const larger = new Float64Array(2 * this.#pairs.length);
      larger.set(this.#pairs);
      this.#pairs = larger;
    }
    this.#pairs[2 * this.#count] = from;
    this.#pairs[2 * this.#count + 1] = to;
    this.#count++;
  }

  /** Pairs of start and end, bytes. */
  finish(): Float64Array {
    return this.#pairs.slice(0, 2 * this.#count);
  }
}
