/** Sorted, disjoint byte ranges in little memory: pairs of start and end in one array, which threads can share. */

/** Ranges that one list holds at most: 16 MiB. A more fragmented disk loses its smallest ranges, see RangeBuilder. */
export const RANGES_MAX = 1024 * 1024;

/** What a file system's own structures say about an area of the disk. */
export interface FreeSpace {
  /** End of the file system on the disk, bytes: what follows is not its own. */
  end: number;
  /** Free ranges on the disk, bytes: pairs of start and end, sorted, within the file system. */
  free: Float64Array<SharedArrayBuffer>;
}

/** Bytes of a range in a list. */
const RANGE_BYTES = 16;
/** The room that a list begins with. Most have fewer ranges. */
const RANGES_FIRST = 1024;

/** Collects ranges in ascending order. Adjacent ones are joined. Its memory grows in place and becomes the list's. */
export class RangeBuilder {
  #pairs = new Float64Array(new SharedArrayBuffer(0));
  #count = 0;
  #grain = 0;
  readonly #max: number;

  /**
   * Never holds more than `max` ranges: when full, those shorter than a grain, which doubles each time, are dropped. Only
   * for lists where a missing range is safe (free ranges: what is missing is copied).
   */
  constructor(max: number = RANGES_MAX) {
    this.#max = max;
  }

  get count(): number {
    return this.#count;
  }

  /** Adds [start, end), bytes. RangeError when it begins before the end of the last one. */
  add(start: number, end: number): void {
    if (end <= start) return;
    const last = this.#count === 0 ? -1 : (this.#pairs[2 * this.#count - 1] ?? -1);
    if (start < last) throw new RangeError(`Range ${start} begins before the last one's end, ${last}.`);
    if (start === last) {
      this.#pairs[2 * this.#count - 1] = end;
      return;
    }
    // Ranges this short were dropped before; taking them now would only fill the list again.
    if (this.#count === this.#max) this.#thin();
    if (2 * this.#count === this.#pairs.length) this.#grow();
    this.#pairs[2 * this.#count] = start;
    this.#pairs[2 * this.#count + 1] = end;
    this.#count++;
  }

  /** Adds all ranges of another list, which must lie behind this one's. */
  addAll(pairs: Float64Array): void {
    for (let i = 0; i + 1 < pairs.length; i += 2) this.add(pairs[i] ?? 0, pairs[i + 1] ?? 0);
  }

  #thin(): void {
    while (this.#count > this.#max / 2) {
      this.#grain = Math.max(4096, this.#grain * 2);
      let kept = 0;
      for (let i = 0; i < this.#count; i++) {
        const start = this.#pairs[2 * i] ?? 0;
        const end = this.#pairs[2 * i + 1] ?? 0;
        if (end - start < this.#grain) continue;
        this.#pairs[2 * kept] = start;
        this.#pairs[2 * kept + 1] = end;
        kept++;
      }
      this.#count = kept;
    }
  }

  #grow(): void {
    const ranges = Math.max(RANGES_FIRST, 2 * this.#count);
    const { buffer } = this.#pairs;
    if (buffer.growable && ranges * RANGE_BYTES <= buffer.maxByteLength) {
      buffer.grow(ranges * RANGE_BYTES);
      return;
    }
    // Only addresses are reserved: what was not written to takes no memory. Doubled copies would all be left for a collection.
    const reserved = { maxByteLength: Math.max(ranges, RANGES_MAX) * RANGE_BYTES };
    const larger = new SharedArrayBuffer(ranges * RANGE_BYTES, ranges > RANGES_FIRST ? reserved : undefined);
    const pairs = new Float64Array(larger);
    pairs.set(this.#pairs);
    this.#pairs = pairs;
  }

  /** The list, in memory that threads can share. The builder is empty afterwards. */
  finish(): Float64Array<SharedArrayBuffer> {
    const pairs = this.#pairs;
    const numbers = 2 * this.#count;
    this.#pairs = new Float64Array(new SharedArrayBuffer(0));
    this.#count = 0;
    if (pairs.buffer.growable) return new Float64Array(pairs.buffer, 0, numbers);
    const list = new Float64Array(new SharedArrayBuffer(numbers * Float64Array.BYTES_PER_ELEMENT));
    list.set(pairs.subarray(0, numbers));
    return list;
  }
}

/** Index of the first range that ends behind `offset`; the number of ranges when there is none. */
export function firstBehind(pairs: Float64Array, offset: number): number {
  let low = 0;
  let high = pairs.length / 2;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((pairs[2 * middle + 1] ?? 0) <= offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** What `ranges` leaves of [start, end), in order; `cut` is sorted. Both are lists of pairs. */
export function subtract(
  start: number,
  end: number,
  cut: Float64Array,
  visit: (start: number, end: number) => void,
): void {
  let at = start;
  for (let i = firstBehind(cut, start); 2 * i < cut.length; i++) {
    const cutStart = cut[2 * i] ?? 0;
    if (cutStart >= end) break;
    if (cutStart > at) visit(at, cutStart);
    at = Math.max(at, cut[2 * i + 1] ?? 0);
  }
  if (at < end) visit(at, end);
}

/** What is in either of two lists of pairs, sorted and joined. It never holds more than RANGES_MAX: see RangeBuilder. */
export function union(a: Float64Array, b: Float64Array): Float64Array<SharedArrayBuffer> {
  const result = new RangeBuilder();
  let last = 0;
  for (let i = 0, j = 0; i < a.length || j < b.length; ) {
    const first = (a[i] ?? Number.POSITIVE_INFINITY) <= (b[j] ?? Number.POSITIVE_INFINITY);
    const [list, at] = first ? [a, i] : [b, j];
    const start = Math.max(last, list[at] ?? 0);
    const end = list[at + 1] ?? 0;
    result.add(start, end);
    last = Math.max(last, end);
    if (first) i += 2;
    else j += 2;
  }
  return result.finish();
}
