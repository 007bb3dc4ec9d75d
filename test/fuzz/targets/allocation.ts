/** The allocation map of disks whose structures were changed: every format at once, as an agent meets them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type BuiltMap, buildMap } from '../../../agent/export/allocation/build.ts';
import { subtract } from '../../../agent/export/allocation/ranges.ts';
import type { Random } from '../engine/random.ts';
import { BLOCK, type SparseImage, unpack } from '../engine/sparse-image.ts';
import type { FuzzTarget } from '../engine/target.ts';
import { must } from '../engine/violation.ts';
import { looseChecksums } from '../loose/switch.ts';
import { ChangedImage } from './changed-image.ts';

const IMAGES = join(import.meta.dirname, '..', 'images');
/** No format gives away its first bytes: a superblock, a label, or the boot sector before it. */
const HEAD_BYTES = 2048;
const MEND = 2;
const LOOSE = 1;
/** Bits of a change's place. */
const IN_USE = 0x8000;
const ADD = 0x4000;
const BIG_ENDIAN = 0x2000;
const PLACE = 0x1fff;

interface Image extends SparseImage {
  name: string;
  /** Blocks with something in them, by number. */
  used: number[];
}

const images: Image[] = readdirSync(IMAGES)
  .filter((name) => name.endsWith('.br'))
  .sort()
  .map((name) => {
    const image = unpack(readFileSync(join(IMAGES, name)));
    return { ...image, name: name.slice(0, -3), used: [...image.blocks.keys()].sort((a, b) => a - b) };
  });

/** A list of pairs in order, apart from one another, on the disk. */
function judgeRanges(pairs: Float64Array, sizeBytes: number, what: string): void {
  let last = -1;
  for (let i = 0; i < pairs.length; i += 2) {
    const start = pairs[i] ?? Number.NaN;
    const end = pairs[i + 1] ?? Number.NaN;
    const good =
      Number.isSafeInteger(start) && Number.isSafeInteger(end) && start > last && start < end && end <= sizeBytes;
    must(good, `${what}: ${start} to ${end} behind ${last}, on a disk of ${sizeBytes}`);
    last = end;
  }
}

/** Do the lists share a byte? Both are sorted. */
function meet(a: Float64Array, b: Float64Array): boolean {
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if ((a[i + 1] ?? 0) <= (b[j] ?? 0)) i += 2;
    else if ((b[j + 1] ?? 0) <= (a[i] ?? 0)) j += 2;
    else return true;
  }
  return false;
}

/** Partitions lie on the disk; free space lies in those that are understood, and not at their start. */
function judgeAreas({ areas, free, sizeBytes }: BuiltMap): void {
  const open: number[] = [];
  for (const { start, end, found } of areas) {
    must(start >= 0 && start < end && end <= sizeBytes, `an area from ${start} to ${end}`);
    if (found.startsWith('unknown')) continue;
    must(!meet(free, Float64Array.of(start, start + HEAD_BYTES)), `the start of ${found} at ${start} is free`);
    open.push(start, end);
  }
  const closed: number[] = [];
  subtract(0, sizeBytes, Float64Array.from(open), (start, end) => closed.push(start, end));
  must(!meet(free, Float64Array.from(closed)), 'something is free where nothing is understood');
}

/** Words that are not zero: the fields that say something. */
function wordsOf(block: Buffer): number[] {
  const words: number[] = [];
  for (let at = 0; at < block.length; at += 4) if (block.readUInt32LE(at) !== 0) words.push(at);
  return words;
}

/** Block in use (u16), place in it (u16): a byte, or with IN_USE the number of a word in use; with ADD the rest is added to it. */
function apply(image: Image, source: ChangedImage, change: Buffer): void {
  if (change.length < 5) return;
  const number = image.used[change.readUInt16LE(0) % image.used.length] ?? 0;
  const place = change.readUInt16LE(2);
  const block = image.blocks.get(number) ?? Buffer.alloc(BLOCK);
  const words = (place & IN_USE) === 0 ? [] : wordsOf(block);
  const at = words[(place & PLACE) % Math.max(1, words.length)] ?? place % BLOCK;
  const value = change.subarray(4);
  if ((place & ADD) === 0 || at > BLOCK - 4) {
    source.change(number, at, value);
    return;
  }
  const sum = Buffer.alloc(4);
  const delta = value.readInt8(0);
  if ((place & BIG_ENDIAN) === 0) sum.writeUInt32LE((block.readUInt32LE(at) + delta) >>> 0);
  else sum.writeUInt32BE((block.readUInt32BE(at) + delta) >>> 0);
  source.change(number, at, sum);
}

/** First record: image, and bits for the checksums. Every other is a change. */
function run(records: readonly Buffer[]): string {
  const [config = Buffer.alloc(0), ...changes] = records;
  const image = images[(config[0] ?? 0) % images.length];
  if (!image) throw new Error('There are no images.');
  const source = new ChangedImage(image);
  for (const change of changes) apply(image, source, change);
  const bits = config[1] ?? 0;
  if ((bits & MEND) !== 0) source.mend();
  looseChecksums.on = (bits & LOOSE) !== 0;
  const map = buildMap(source);
  judgeRanges(map.free, map.sizeBytes, 'free');
  judgeRanges(map.unknown, map.sizeBytes, 'unknown');
  must(map.sizeBytes === image.sizeBytes, 'a map of another size');
  must(!meet(map.free, map.unknown), 'something is free and unknown');
  judgeAreas(map);
  return `${image.name}: ${map.areas.map(({ found }) => found.replace(/[0-9]+/g, '#').slice(0, 50)).join()}`;
}

function anyChange(random: Random): Buffer {
  const at = random.below(4) === 0 ? random.below(BLOCK) : 4 * random.below(random.pick([64, 128, 256, 1024]));
  const value = Buffer.alloc(random.pick([1, 2, 4, 4, 8]));
  const number = random.once(2) ? random.interesting() : random.below(65536);
  if (random.once(4)) random.bytes(value.length).copy(value);
  else if (random.once(2))
    value.writeUIntLE(number % 2 ** Math.min(48, 8 * value.length), 0, Math.min(6, value.length));
  else value.writeUIntBE(number % 2 ** Math.min(48, 8 * value.length), 0, Math.min(6, value.length));
  const head = Buffer.alloc(4);
  // The first blocks hold superblocks and tables.
  head.writeUInt16LE(random.once(2) ? random.below(6) : random.below(65536), 0);
  const where = random.once(3) ? at : IN_USE | random.below(random.pick([16, 64, 1024]));
  const how = random.once(3) ? ADD | random.pick([0, BIG_ENDIAN]) : 0;
  head.writeUInt16LE(where | how, 2);
  return Buffer.concat([head, value]);
}

export const allocation: FuzzTarget = {
  name: 'allocation',
  first: (random) => Buffer.from([random.below(images.length), random.below(4)]),
  message: anyChange,
  seeds: () => images.flatMap((_, index) => [0, 3].map((bits) => [Buffer.from([index, bits])])),
  run,
};
