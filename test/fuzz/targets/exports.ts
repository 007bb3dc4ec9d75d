/** The disks that the server serves under the fuzzer, and what a client may see of them. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AllocationMap } from '../../../agent/export/allocation/map.ts';
import type { Offer } from '../../../agent/export/negotiate.ts';
import { DiskReader } from '../../../agent/export/reader.ts';
import { scratchFolder } from '../engine/scratch.ts';

const KIB = 1024;
/** What stands behind the end of the first export, and in its free blocks: no answer may hold it. */
export const SECRET = 0xa5;

export interface ExportTruth extends Offer {
  /** What the export reads as, `sizeBytes` bytes. */
  content: Buffer;
  /** Reads that touch a byte from here on may fail: the disk ends before its export does. */
  brokenFrom: number;
  reader: DiskReader;
}

function shared(pairs: readonly number[]): Float64Array<SharedArrayBuffer> {
  const list = new Float64Array(new SharedArrayBuffer(pairs.length * 8));
  list.set(pairs);
  return list;
}

function fill(bytes: number): Buffer {
  const content = Buffer.alloc(bytes);
  // 0xa5 is kept for what must not be seen.
  for (let i = 0; i < bytes; i++) content[i] = 1 + ((i * 7 + (i >> 8)) % 127);
  return content;
}

const folder = scratchFolder();

/** A disk with data, zeros, free blocks that hold garbage, an unknown area, and something behind its end. */
function whole(): ExportTruth {
  const content = fill(64 * KIB);
  content.fill(0, 4 * KIB, 8 * KIB);
  content.fill(0, 52 * KIB, 60 * KIB);
  const path = join(folder, 'sda');
  const onDisk = Buffer.concat([content, Buffer.alloc(64 * KIB, SECRET)]);
  const free = [9 * KIB, 9.5 * KIB, 32 * KIB, 40 * KIB];
  for (let i = 0; i < free.length; i += 2) {
    onDisk.fill(SECRET, free[i], free[i + 1]);
    content.fill(0, free[i], free[i + 1]);
  }
  writeFileSync(path, onDisk);
  const map = new AllocationMap({
    sizeBytes: content.length,
    free: shared(free),
    unknown: shared([48 * KIB, 64 * KIB]),
  });
  return {
    name: 'sda',
    sizeBytes: content.length,
    content,
    brokenFrom: content.length,
    reader: new DiskReader(path, map),
  };
}

/** A disk of more than a step of the server, the end of which cannot be read. */
function broken(): ExportTruth {
  const content = fill(320 * KIB);
  const path = join(folder, 'vdb');
  writeFileSync(path, content.subarray(0, 260 * KIB));
  const map = new AllocationMap({
    sizeBytes: content.length,
    free: shared([24 * KIB, 28 * KIB, 300 * KIB, 304 * KIB]),
    unknown: shared([8 * KIB, 20 * KIB, 250 * KIB, 270 * KIB]),
  });
  content.fill(0, 24 * KIB, 28 * KIB);
  content.fill(0, 300 * KIB, 304 * KIB);
  return { name: 'vdb', sizeBytes: content.length, content, brokenFrom: 260 * KIB, reader: new DiskReader(path, map) };
}

export const truths: readonly ExportTruth[] = [whole(), broken()];
