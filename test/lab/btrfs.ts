/** Btrfs images for tests, and independent witnesses about them: btrfs-progs' own reader, its checker, and its rescuer. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { buildMap } from '../../agent/export/allocation/build.ts';
import { crc32c } from '../../agent/export/allocation/crc.ts';
import { DeviceSource } from '../../agent/export/allocation/source.ts';
import { BlockDevice } from '../../native/block.ts';

export const MIB = 1024 * 1024;
export type Ranges = [number, number][];

/** Output of a btrfs-progs tool; its complaints are part of the error when it fails. */
export function run(program: string, args: readonly string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 2 ** 29 });
}

/** Creates a sparse file of this size. */
export function sparse(path: string, bytes: number): void {
  const fd = openSync(path, 'w');
  ftruncateSync(fd, bytes);
  closeSync(fd);
}

export function patch(path: string, offset: number, bytes: Uint8Array): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}

export function peek(path: string, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const fd = openSync(path, 'r');
  readSync(fd, bytes, 0, length, offset);
  closeSync(fd);
  return bytes;
}

/** The map that the agent makes of a whole image. */
export function mapOf(path: string) {
  const device = BlockDevice.open(path, { write: false, direct: false });
  const source = new DeviceSource(device, device.sizeBytes);
  try {
    return buildMap(source);
  } finally {
    source.free();
    device.close();
  }
}

export function pairs(list: Float64Array): Ranges {
  const result: Ranges = [];
  for (let i = 0; i < list.length; i += 2) result.push([list[i] ?? -1, list[i + 1] ?? -1]);
  return result;
}

/** A number of the superblock as dump-super prints it. */
export function dumpSuper(path: string, name: string): number {
  const value = new RegExp(`^${name}\\s+(\\d+)`, 'm').exec(run('btrfs', ['inspect-internal', 'dump-super', path]))?.[1];
  assert.ok(value !== undefined, `dump-super says ${name}`);
  return Number(value);
}

export interface DumpedChunk {
  logical: number;
  bytes: number;
  stripes: number[];
}

/** The chunks as dump-tree prints them. */
export function dumpChunks(path: string): DumpedChunk[] {
  const text = run('btrfs', ['inspect-internal', 'dump-tree', '-t', 'chunk', path]);
  return text
    .split(/^\titem \d+ key /m)
    .filter((item) => item.includes('CHUNK_ITEM'))
    .map((item) => ({
      logical: Number(/CHUNK_ITEM (\d+)/.exec(item)?.[1]),
      bytes: Number(/length (\d+)/.exec(item)?.[1]),
      stripes: [...item.matchAll(/stripe \d+ devid \d+ offset (\d+)/g)].map((match) => Number(match[1])),
    }));
}

/**
 * Free ranges of the device by what dump-tree prints of chunks and extents, on a map of its sectors: everything that is not
 * marked as used there.
 */
export function dumpTreeFree(path: string): Ranges {
  const sector = dumpSuper(path, 'sectorsize');
  const nodeBytes = dumpSuper(path, 'nodesize');
  const size = dumpSuper(path, 'dev_item.total_bytes');
  const used = new Uint8Array(Math.floor(size / sector));
  const mark = (at: number, bytes: number): void => {
    used.fill(1, Math.floor(at / sector), Math.ceil((at + bytes) / sector));
  };
  mark(0, MIB);
  for (const copy of [64 * MIB, 256 * 1024 * MIB]) mark(copy, 65536);
  const chunks = dumpChunks(path);
  const text = run('btrfs', ['inspect-internal', 'dump-tree', '-t', 'extent', path]);
  for (const match of text.matchAll(/^\titem \d+ key \((\d+) (EXTENT_ITEM|METADATA_ITEM) (\d+)\)/gm)) {
    const logical = Number(match[1]);
    const bytes = match[2] === 'EXTENT_ITEM' ? Number(match[3]) : nodeBytes;
    const chunk = chunks.find((one) => one.logical <= logical && logical + bytes <= one.logical + one.bytes);
    assert.ok(chunk, `extent ${logical} is in a chunk`);
    for (const stripe of chunk.stripes) mark(stripe + logical - chunk.logical, bytes);
  }
  const ranges: Ranges = [];
  for (let at = used.indexOf(0); at >= 0; ) {
    const next = used.indexOf(1, at);
    const end = next < 0 ? used.length : next;
    ranges.push([at * sector, end * sector]);
    at = next < 0 ? -1 : used.indexOf(0, end);
  }
  return ranges;
}

/** Overwrites every range with bytes that no file system would take for its own. */
export function scribble(path: string, ranges: Ranges): void {
  const junk = Buffer.alloc(MIB, 0xa5);
  const fd = openSync(path, 'r+');
  for (const [start, end] of ranges) {
    for (let at = start; at < end; at += junk.length) writeSync(fd, junk, 0, Math.min(junk.length, end - at), at);
  }
  closeSync(fd);
}

/** Fails unless btrfs check finds metadata, data checksums and references whole. */
export function assertClean(path: string): void {
  assert.match(run('btrfs', ['check', '--readonly', '--check-data-csum', path]), /no error found/);
}

/** Where `logical` is on the device, first copy. */
export function physical(path: string, logical: number): number {
  const chunk = dumpChunks(path).find((one) => one.logical <= logical && logical < one.logical + one.bytes);
  assert.ok(chunk?.stripes[0] !== undefined, `${logical} is in a chunk`);
  return chunk.stripes[0] + logical - chunk.logical;
}

/** Logical addresses of the nodes of a tree at this level, as dump-tree names the tree. */
export function nodes(path: string, tree: string, level: number): number[] {
  const text = run('btrfs', ['inspect-internal', 'dump-tree', '-t', tree, path]);
  const all = [...text.matchAll(/^(?:node (\d+) level (\d+)|leaf (\d+)) items/gm)];
  return all.filter((match) => Number(match[2] ?? 0) === level).map((match) => Number(match[1] ?? match[3]));
}

/** Changes a superblock or node (crc32c) and gives it the checksum that it must have then. */
export function reseal(path: string, offset: number, bytes: number, change: (block: Buffer) => void): void {
  const block = peek(path, offset, bytes);
  change(block);
  block.writeUInt32LE(~crc32c(0xffffffff, block.subarray(32)) >>> 0, 0);
  patch(path, offset, block);
}

/** Changes the superblock and its copy at 64 MiB alike. */
export function resealSuper(path: string, change: (block: Buffer) => void): void {
  for (const at of [65536, 64 * MIB]) reseal(path, at, 4096, change);
}
