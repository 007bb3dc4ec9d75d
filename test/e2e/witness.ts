/**
 * Independent witnesses of a copy: none of Rehost's own code decides here what is in use or whether it is equal. The
 * blocks in use come from sfdisk and dumpe2fs; bytes are compared as Node reads them from the files.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { run } from '../lab/command.ts';

export interface Range {
  offset: number;
  length: number;
}

/** A page: what a swap partition holds beyond its header's page means nothing on a machine that is switched off. */
const SWAP_HEADER_BYTES = 4096;
const CHUNK_BYTES = 4 * 1024 * 1024;

/** SHA-256 of a whole file, hex. */
export async function fileSha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: CHUNK_BYTES }), hash);
  return hash.digest('hex');
}

/** Free blocks of the ext4 file system at `offset` of a disk image, as dumpe2fs tells them. */
async function ext4FreeRanges(disk: string, offset: number): Promise<Range[]> {
  const text = await run(['dumpe2fs', `${disk}?offset=${offset}`]);
  const blockSize = Number(/^Block size:\s+(\d+)$/m.exec(text)?.[1]);
  if (!(blockSize >= 1024)) throw new Error(`dumpe2fs names no block size for ${disk} at ${offset}`);
  const free: Range[] = [];
  for (const [, list] of text.matchAll(/^ {2}Free blocks: (.*)$/gm)) {
    for (const item of (list ?? '').split(',').map((part) => part.trim())) {
      if (item === '') continue;
      const [first, last] = item.split('-').map(Number);
      if (first === undefined || Number.isNaN(first)) throw new Error(`dumpe2fs: cannot read '${item}'`);
      free.push({ offset: offset + first * blockSize, length: ((last ?? first) - first + 1) * blockSize });
    }
  }
  return free;
}

interface SfdiskTable {
  partitiontable: { sectorsize?: number; partitions: { node: string; start: number; size: number }[] };
}

async function fileSystemAt(disk: string, range: Range): Promise<string> {
  const text = await run([
    'blkid',
    '-p',
    '-o',
    'value',
    '-s',
    'TYPE',
    '-O',
    String(range.offset),
    '-S',
    String(range.length),
    disk,
  ]);
  return text.trim();
}

/** Ranges of the disk whose content does not matter: free blocks and swapped pages. Sorted. */
export async function freeRanges(disk: string): Promise<Range[]> {
  const table = JSON.parse(await run(['sfdisk', '-J', disk])) as SfdiskTable;
  const sector = table.partitiontable.sectorsize ?? 512;
  const free: Range[] = [];
  for (const partition of table.partitiontable.partitions) {
    const range = { offset: partition.start * sector, length: partition.size * sector };
    const kind = await fileSystemAt(disk, range).catch(() => '');
    if (kind === 'ext4') free.push(...(await ext4FreeRanges(disk, range.offset)));
    if (kind === 'swap')
      free.push({ offset: range.offset + SWAP_HEADER_BYTES, length: range.length - SWAP_HEADER_BYTES });
  }
  return free.sort((a, b) => a.offset - b.offset);
}

/** Everything of [0, size) that is not free. */
export function usedRanges(sizeBytes: number, free: readonly Range[]): Range[] {
  const used: Range[] = [];
  let position = 0;
  for (const range of free) {
    if (range.offset > position) used.push({ offset: position, length: range.offset - position });
    position = Math.max(position, range.offset + range.length);
  }
  if (position < sizeBytes) used.push({ offset: position, length: sizeBytes - position });
  return used;
}

/** SHA-256 over the given ranges of a file and how many bytes that were. */
async function hashRanges(path: string, ranges: readonly Range[]): Promise<string> {
  const hash = createHash('sha256');
  const file = await open(path, 'r');
  const buffer = Buffer.alloc(CHUNK_BYTES);
  try {
    for (const range of ranges) {
      for (let done = 0; done < range.length; ) {
        const { bytesRead } = await file.read(
          buffer,
          0,
          Math.min(CHUNK_BYTES, range.length - done),
          range.offset + done,
        );
        if (bytesRead === 0) throw new Error(`${path} ends before ${range.offset + range.length}`);
        hash.update(buffer.subarray(0, bytesRead));
        done += bytesRead;
      }
    }
  } finally {
    await file.close();
  }
  return hash.digest('hex');
}

/** Hash of source and replica over all blocks that are in use on the source, and how many bytes those are. */
export async function compareUsed(
  source: string,
  replica: string,
): Promise<{ source: string; replica: string; usedBytes: number }> {
  const { size } = await stat(source);
  const used = usedRanges(size, await freeRanges(source));
  const usedBytes = used.reduce((sum, range) => sum + range.length, 0);
  return { source: await hashRanges(source, used), replica: await hashRanges(replica, used), usedBytes };
}
