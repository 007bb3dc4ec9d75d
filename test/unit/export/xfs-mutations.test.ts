/** XFS metadata changed at random: nothing but Inconsistent is thrown, nothing outside is freed, and every run ends. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { crc32c } from '../../../agent/export/allocation/crc.ts';
import { subtract } from '../../../agent/export/allocation/ranges.ts';
import { DeviceSource, Inconsistent, type StructureSource } from '../../../agent/export/allocation/source.ts';
import { xfsFree } from '../../../agent/export/allocation/xfs.ts';
import { BlockDevice } from '../../../native/block.ts';
import { fragmentXfs, mkfsXfs } from '../../lab/xfs.ts';

const MIB = 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'rehost-xfs-mutations-'));
const ends: (() => void)[] = [];
after(() => {
  for (const end of ends) end();
  rmSync(folder, { recursive: true, force: true });
});

/** Numbers that come again with the same seed (mulberry32). */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) % below;
  };
}

/** A disk with some bytes changed, which counts what is read and fails when that has no end. */
class Changed implements StructureSource {
  readonly sizeBytes: number;
  readonly sectorBytes = 512;
  readonly reads: { offset: number; length: number }[] = [];
  readonly #base: StructureSource;
  readonly #limit: number;
  readonly #changes = new Map<number, number>();

  constructor(base: StructureSource, limit: number) {
    this.#base = base;
    this.sizeBytes = base.sizeBytes;
    this.#limit = limit;
  }

  change(offset: number, bytes: Uint8Array): void {
    for (const [i, byte] of bytes.entries()) this.#changes.set(offset + i, byte);
  }

  read(offset: number, length: number): Buffer {
    assert.ok(this.reads.length < this.#limit, `more than ${this.#limit} reads`);
    this.reads.push({ offset, length });
    return this.peek(offset, length);
  }

  peek(offset: number, length: number): Buffer {
    const bytes = this.#base.read(offset, length);
    for (const [at, byte] of this.#changes) if (at >= offset && at < offset + length) bytes[at - offset] = byte;
    return bytes;
  }
}

interface Image {
  source: DeviceSource;
  free: Float64Array;
  /** What is read of it when it is whole. */
  reads: { offset: number; length: number }[];
  /** Structures with a checksum, which there are in version 5: where they are, their length, where in them it is. */
  sealed: { offset: number; length: number; checksum: number }[];
}

const CHECKSUM_AT = new Map([
  ['XFSB', 224],
  ['XAGF', 216],
  ['XAGI', 312],
  ['XAFL', 32],
  ['AB3B', 52],
  ['AB3C', 52],
]);

function image(name: string, options: string[], files: number): Image {
  const path = join(folder, name);
  mkfsXfs(folder, path, 400 * MIB, options, files);
  fragmentXfs(path);
  const device = BlockDevice.open(path, { write: false, direct: false });
  const source = new DeviceSource(device, device.sizeBytes);
  ends.push(() => {
    source.free();
    device.close();
  });
  const whole = new Changed(source, 100_000);
  const space = xfsFree(whole, 0, whole.sizeBytes);
  assert.ok(space && space.free.length > 200, 'the image is fragmented');
  const sealed: Image['sealed'] = [];
  const version5 = (source.read(101, 1)[0] ?? 0) % 16 === 5;
  for (const { offset, length } of whole.reads.filter((one) => version5 && one.length <= 65536)) {
    const bytes = source.read(offset, length);
    const magic = bytes.toString('latin1', 0, 4);
    // Headers of a group are read in one piece of four sectors, of 512 bytes in these images.
    const step = magic === 'XFSB' ? 512 : length;
    for (let at = 0; at < length; at += step) {
      const checksum = CHECKSUM_AT.get(bytes.toString('latin1', at, at + 4));
      if (checksum !== undefined) sealed.push({ offset: offset + at, length: step, checksum });
    }
  }
  return { source, free: space.free, reads: whole.reads, sealed };
}

type Outcome = { kind: 'none' } | { kind: 'refused'; reason: string } | { kind: 'free'; free: Float64Array };

/** Reads [start, end) of it. Fails on any other error, and on ranges that are out of order or outside of it. */
function outcome(source: StructureSource, start: number, end: number): Outcome {
  try {
    const space = xfsFree(source, start, end);
    if (space === undefined) return { kind: 'none' };
    assert.ok(space.end > start && space.end <= end, `${space.end} is in the area`);
    let last = start;
    for (let i = 0; i < space.free.length; i += 2) {
      const [from = -1, to = -1] = space.free.subarray(i, i + 2);
      assert.ok(from >= last && to > from && to <= space.end, `${from} to ${to} is in order and in the area`);
      last = to;
    }
    return { kind: 'free', free: space.free };
  } catch (error) {
    if (error instanceof Inconsistent) return { kind: 'refused', reason: error.message };
    throw error;
  }
}

/** The first byte that is in `list` and not in `allowed`; undefined when there is none. */
function outside(list: Float64Array, allowed: Float64Array): number | undefined {
  let first: number | undefined;
  for (let i = 0; i < list.length; i += 2) {
    subtract(list[i] ?? 0, list[i + 1] ?? 0, allowed, (start) => {
      first ??= start;
    });
  }
  return first;
}

/** Somewhere in what is read, the small structures as often as the large ones. */
function somewhere(reads: Image['reads'], random: (below: number) => number): number {
  const { offset, length } = reads[random(reads.length)] ?? { offset: 0, length: 1 };
  // Headers, first records and first keys are at the beginning.
  return offset + random(random(2) === 0 ? Math.min(length, 128) : length);
}

/** One to eight bytes: random, all one, zero, or a small number. */
function somewhat(random: (below: number) => number): Buffer {
  const bytes = Buffer.alloc(1 + random(8));
  const kind = random(4);
  if (kind === 0) for (let i = 0; i < bytes.length; i++) bytes[i] = random(256);
  else if (kind === 1) bytes.fill(0xff);
  else if (kind === 2) bytes[bytes.length - 1] = random(40);
  return bytes;
}

const KINDS: Record<string, { options: string[]; files: number; rounds: number }> = {
  'version 4, tree of two levels': { options: ['-m', 'crc=0', '-b', 'size=512'], files: 1000, rounds: 400 },
  'version 5, tree of two levels': { options: ['-b', 'size=1024'], files: 1000, rounds: 250 },
};

for (const [name, { options, files, rounds }] of Object.entries(KINDS)) {
  describe(`XFS metadata changed at random: ${name}`, () => {
    const whole = image(name, options, files);
    const limit = 4 * whole.reads.length + 100;

    it('frees nothing more for one damaged place', () => {
      const random = randomOf(1);
      let refused = 0;
      for (let round = 0; round < rounds; round++) {
        const source = new Changed(whole.source, limit);
        const at = somewhere(whole.reads, random);
        const bytes = somewhat(random);
        source.change(at, bytes);
        const result = outcome(source, 0, source.sizeBytes);
        if (result.kind === 'refused') refused++;
        if (result.kind !== 'free') continue;
        const wrong = outside(result.free, whole.free);
        assert.equal(wrong, undefined, `byte ${wrong} is free after ${bytes.toString('hex')} at ${at}`);
      }
      assert.ok(refused > rounds / 3, `${refused} of ${rounds} were refused`);
    });

    it('ends, within the area, with many changes and right checksums', () => {
      const random = randomOf(2);
      const reasons = new Set<string>();
      for (let round = 0; round < rounds; round++) {
        const source = new Changed(whole.source, limit);
        const places = whole.sealed.length > 0 ? whole.sealed : whole.reads;
        for (let change = 0; change <= random(4); change++) source.change(somewhere(places, random), somewhat(random));
        for (const { offset, length, checksum } of whole.sealed) {
          const bytes = source.peek(offset, length);
          bytes.writeUInt32LE(0, checksum);
          const crc = Buffer.alloc(4);
          crc.writeUInt32LE(~crc32c(0xffffffff, bytes) >>> 0);
          source.change(offset + checksum, crc);
        }
        const result = outcome(source, 0, source.sizeBytes);
        if (result.kind === 'refused') reasons.add(result.reason.replaceAll(/\d+/g, 'N'));
      }
      assert.ok(reasons.size >= 12, [...reasons].join('\n'));
    });
  });
}

describe('garbage with the magic of XFS', () => {
  it('is refused, and never read without end', () => {
    const random = randomOf(3);
    const bytes = Buffer.alloc(MIB);
    for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(random(2 ** 32), at);
    const garbage: StructureSource = {
      sizeBytes: bytes.length,
      sectorBytes: 512,
      read: (offset, length) => {
        if (offset < 0 || length < 0 || offset + length > bytes.length) throw new Inconsistent('not on the disk');
        return Buffer.from(bytes.subarray(offset, offset + length));
      },
    };
    for (let round = 0; round < 2000; round++) {
      const source = new Changed(garbage, 1000);
      const start = 512 * random(1000);
      source.change(start, Buffer.from('XFSB'));
      // A version and a sector size that let it be read further.
      source.change(start + 100, Buffer.from([0x24 + 0x80 * random(2), 0xa4 + random(2), 2 << random(3), 0]));
      assert.equal(outcome(source, start, start + 512 * (1 + random(1000))).kind, 'refused');
    }
  });
});
