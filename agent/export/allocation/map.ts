/** What is known of a disk's blocks without reading them all. */
import { firstBehind } from './ranges.ts';

/**
 * `free`: no file system uses it; it reads as zeros through an export, whatever the disk holds there.
 * `unknown`: nothing understands this area; only reading tells whether it is zero. `data`: in use.
 */
export type ExtentState = 'data' | 'free' | 'unknown';

export interface Extent {
  start: number;
  end: number;
  state: ExtentState;
}

/** A map as it goes from thread to thread: two lists of pairs of start and end, bytes, sorted and disjoint. */
export interface MapLists {
  sizeBytes: number;
  free: Float64Array<SharedArrayBuffer>;
  unknown: Float64Array<SharedArrayBuffer>;
}

/** Allocation of one disk. Immutable; each thread makes its own around the shared lists. */
export class AllocationMap {
  readonly sizeBytes: number;
  readonly free: Float64Array;
  readonly #unknown: Float64Array;

  constructor(lists: MapLists) {
    this.sizeBytes = lists.sizeBytes;
    this.free = lists.free;
    this.#unknown = lists.unknown;
  }

  /** The extent at `offset`, cut at `limit`. Neighbours may have the same state. `offset` lies within the disk. */
  extentAt(offset: number, limit: number): Extent {
    const end = Math.min(limit, this.sizeBytes);
    const free = firstBehind(this.free, offset);
    const freeStart = this.free[2 * free] ?? this.sizeBytes;
    if (freeStart <= offset)
      return { start: offset, end: Math.min(end, this.free[2 * free + 1] ?? end), state: 'free' };
    const unknown = firstBehind(this.#unknown, offset);
    const unknownStart = this.#unknown[2 * unknown] ?? this.sizeBytes;
    if (unknownStart <= offset) {
      return { start: offset, end: Math.min(end, this.#unknown[2 * unknown + 1] ?? end), state: 'unknown' };
    }
    return { start: offset, end: Math.min(end, freeStart, unknownStart), state: 'data' };
  }

  /** Extents of [offset, offset + length) in order. */
  *extents(offset: number, length: number): Generator<Extent> {
    const end = Math.min(this.sizeBytes, offset + length);
    for (let at = offset; at < end; ) {
      const extent = this.extentAt(at, end);
      yield extent;
      at = extent.end;
    }
  }
}
