/** Disk images of tests of allocation maps: their maps, and bytes in and out of them. */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { buildMap } from '../../agent/export/allocation/build.ts';
import { DeviceSource } from '../../agent/export/allocation/source.ts';
import { BlockDevice } from '../../native/block.ts';

export const MIB = 1024 * 1024;

/** The allocation map of an image. */
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

/** A list of ranges as pairs. */
export function pairs(list: Float64Array): [number, number][] {
  return Array.from({ length: list.length / 2 }, (_, i) => [list[2 * i] ?? -1, list[2 * i + 1] ?? -1]);
}

/** Copies bytes from file to file. */
export function transfer(from: string, fromAt: number, to: string, toAt: number, length: number): void {
  const source = openSync(from, 'r');
  const target = openSync(to, 'r+');
  const buffer = Buffer.alloc(MIB);
  for (let done = 0; done < length; done += MIB) {
    const step = Math.min(MIB, length - done);
    if (readSync(source, buffer, 0, step, fromAt + done) !== step) throw new Error(`${from} is too short`);
    writeSync(target, buffer, 0, step, toAt + done);
  }
  closeSync(source);
  closeSync(target);
}

/** Overwrites ranges, so that whatever needs them is found broken. */
export function destroy(path: string, ranges: [number, number][]): void {
  const fd = openSync(path, 'r+');
  const junk = Buffer.alloc(MIB, 0xa5);
  for (const [start, end] of ranges) {
    for (let at = start; at < end; at += MIB) writeSync(fd, junk, 0, Math.min(MIB, end - at), at);
  }
  closeSync(fd);
}

/** Overwrites a few bytes. */
export function patch(path: string, offset: number, bytes: Buffer): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}
