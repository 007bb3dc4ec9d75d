/** A logical volume as something to read from, and its byte ranges as places on the disk. */
import { firstBehind, RangeBuilder } from './ranges.ts';
import { Inconsistent, type StructureSource } from './source.ts';

/** A part of a segment on the disk, bytes. */
export interface Stripe {
  start: number;
  end: number;
}

/**
 * Bytes [start, end) of a volume: pieces of `stripeBytes`, dealt out to the stripes in turn. A linear segment has one stripe.
 * The stripes have the same size, a multiple of `stripeBytes`, and together that of the segment.
 */
export interface VolumeSegment {
  start: number;
  end: number;
  stripeBytes: number;
  stripes: readonly Stripe[];
}

/** Reads of a volume are reads of the disk. The segments cover the volume from byte 0 without gaps. */
export class VolumeSource implements StructureSource {
  readonly sizeBytes: number;
  readonly sectorBytes: number;
  readonly #disk: StructureSource;
  readonly #segments: readonly VolumeSegment[];

  constructor(disk: StructureSource, segments: readonly VolumeSegment[]) {
    this.#disk = disk;
    this.#segments = segments;
    this.sectorBytes = disk.sectorBytes;
    this.sizeBytes = segments.at(-1)?.end ?? 0;
  }

  read(offset: number, length: number, scratch?: Buffer): Buffer {
    if (!Number.isSafeInteger(offset) || offset < 0 || length < 0 || offset + length > this.sizeBytes) {
      throw new Inconsistent(`bytes ${offset} to ${offset + length} are not on the volume of ${this.sizeBytes} bytes`);
    }
    const parts: Buffer[] = [];
    for (let at = offset; at < offset + length; ) {
      const segment = this.#segmentAt(at);
      const piece = Math.floor((at - segment.start) / segment.stripeBytes);
      const pieceStart = segment.start + piece * segment.stripeBytes;
      const step = Math.min(offset + length, pieceStart + segment.stripeBytes) - at;
      const count = segment.stripes.length;
      const stripe = segment.stripes[piece % count];
      if (!stripe) throw new RangeError(`Byte ${at} has no stripe.`);
      const from = stripe.start + Math.floor(piece / count) * segment.stripeBytes + at - pieceStart;
      parts.push(this.#disk.read(from, step, scratch?.subarray(at - offset)));
      at += step;
    }
    const [only] = parts;
    return only && parts.length === 1 ? only : Buffer.concat(parts);
  }

  #segmentAt(offset: number): VolumeSegment {
    let low = 0;
    let high = this.#segments.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#segments[middle]?.end ?? 0) <= offset) low = middle + 1;
      else high = middle;
    }
    const segment = this.#segments[low];
    if (!segment) throw new RangeError('A volume without segments.');
    return segment;
  }
}

/** Ranges of a volume (pairs of start and end, sorted) as ranges of the disk, sorted and joined. */
export function toDisk(segments: readonly VolumeSegment[], ranges: Float64Array): Float64Array<SharedArrayBuffer> {
  const result = new RangeBuilder();
  const areas = segments.flatMap((segment) =>
    segment.stripes.map((stripe, index) => ({ segment, disk: stripe.start, index })),
  );
  areas.sort((a, b) => a.disk - b.disk);
  for (const { segment, disk, index } of areas) {
    for (let i = firstBehind(ranges, segment.start); ; i++) {
      const start = Math.max(ranges[2 * i] ?? segment.end, segment.start);
      if (start >= segment.end) break;
      const end = Math.min(ranges[2 * i + 1] ?? segment.end, segment.end);
      result.add(disk + stripeBytesBefore(segment, index, start), disk + stripeBytesBefore(segment, index, end));
    }
  }
  return result.finish();
}

/** Bytes of one stripe in the segment before a byte of the volume. What a range has of a stripe is one range there. */
function stripeBytesBefore(segment: VolumeSegment, index: number, at: number): number {
  const { stripeBytes } = segment;
  const row = segment.stripes.length * stripeBytes;
  const inSegment = at - segment.start;
  const inRow = (inSegment % row) - index * stripeBytes;
  return Math.floor(inSegment / row) * stripeBytes + Math.min(stripeBytes, Math.max(0, inRow));
}
