/** XFS images for tests, made and read by xfsprogs alone: no kernel, no root. */
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export type Pair = [start: number, end: number];

/** Runs a tool; its errors are shown with what it said. */
function run(program: string, args: string[], input?: string): string {
  return execFileSync(program, args, { encoding: 'utf8', maxBuffer: 1 << 28, input: input ?? '', stdio: 'pipe' });
}

/** Makes a sparse file of `bytes` bytes. */
export function sparse(path: string, bytes: number): void {
  const fd = openSync(path, 'w');
  ftruncateSync(fd, bytes);
  closeSync(fd);
}

/** Makes the file system `path` of `bytes` bytes with `files` small files in its root directory. `folder` holds what is needed for that. */
export function mkfsXfs(folder: string, path: string, bytes: number, options: readonly string[], files = 50): void {
  const content = join(folder, 'content');
  writeFileSync(content, 'a small file, one block\n');
  const names = Array.from({ length: files }, (_, i) => `file-${i} ---644 0 0 ${content}`);
  const prototype = join(folder, 'prototype');
  writeFileSync(prototype, ['/', '0 0', 'd--755 0 0', ...names, '$', ''].join('\n'));
  sparse(path, bytes);
  run('mkfs.xfs', ['-q', '-f', '-p', prototype, ...options, path]);
}

/** What xfs_db prints for these commands, read-only. */
export function xfsDb(path: string, ...commands: string[]): string {
  return run('xfs_db', ['-r', ...commands.flatMap((command) => ['-c', command]), path]);
}

/** A number that xfs_db prints for `field` after `commands`. */
export function xfsField(path: string, field: string, ...commands: string[]): number {
  const printed = /= (\S+)/.exec(xfsDb(path, ...commands, `print ${field}`))?.[1];
  return Number(printed);
}

/** Byte of the disk at which the metadata are that `commands` lead to. */
export function xfsAddress(path: string, ...commands: string[]): number {
  return Number(/current daddr is (\d+)/.exec(xfsDb(path, ...commands, 'daddr'))?.[1]) * 512;
}

/** Byte of the disk at which the internal log begins. */
export function xfsLogAddress(path: string): number {
  const block = xfsField(path, 'logstart', 'sb 0');
  return Number(/\((\d+)\)/.exec(xfsDb(path, `convert fsblock ${block} byte`))?.[1]);
}

/** Sets a field of metadata to any value, with a right checksum: `commands` lead there. */
export function xfsWrite(path: string, field: string, value: number | string, ...commands: string[]): void {
  const version5 = (xfsField(path, 'versionnum', 'sb 0') & 0xf) === 5;
  const all = [...commands, `write ${version5 ? '-d' : '-c'} ${field} ${value}`];
  run('xfs_db', ['-x', ...all.flatMap((command) => ['-c', command]), path]);
}

/**
 * Frees every other file, so that the free space is in as many pieces: their inodes are emptied, and xfs_repair, which
 * believes its own walk through all inodes, writes the free space trees anew.
 */
export function fragmentXfs(path: string): void {
  const inodes = xfsDb(path, 'blockget -n', 'ncheck')
    .split('\n')
    .flatMap((line) => /^\s*(\d+)\s+file-(\d+)$/.exec(line)?.slice(1, 3) ?? [])
    .map(Number);
  const commands: string[] = [];
  for (let i = 0; i < inodes.length; i += 2) {
    if ((inodes[i + 1] ?? 0) % 2 === 0) commands.push(`inode ${inodes[i]}`, 'write core.mode 0');
  }
  run('xfs_db', ['-x', path], `${commands.join('\n')}\nquit\n`);
  run('xfs_repair', [path]);
}

/** Free ranges by xfs_db's own walk, joined and without the blocks of the free lists, bytes from the file system's start. */
export function xfsDbFree(path: string): Pair[] {
  const blockBytes = xfsField(path, 'blocksize', 'sb 0');
  const groupBlocks = xfsField(path, 'agblocks', 'sb 0');
  const groups = xfsField(path, 'agcount', 'sb 0');
  const listed = new Set<number>();
  for (let group = 0; group < groups; group++) {
    for (const block of freeList(path, group)) listed.add(group * groupBlocks + block);
  }
  const ranges: Pair[] = [];
  // Group, block, length; behind them follows a histogram.
  for (const line of xfsDb(path, 'freesp -d').matchAll(/^\s*(\d+)\s+(\d+)\s+(\d+)$/gm)) {
    const [group = 0, block = 0, length = 0] = line.slice(1).map(Number);
    const first = group * groupBlocks + block;
    if (length === 1 && listed.has(first)) continue;
    ranges.push([first * blockBytes, (first + length) * blockBytes]);
  }
  ranges.sort((a, b) => a[0] - b[0]);
  return ranges;
}

function freeList(path: string, group: number): number[] {
  const first = xfsField(path, 'flfirst', `agf ${group}`);
  const count = xfsField(path, 'flcount', `agf ${group}`);
  const text = xfsDb(path, `agfl ${group}`, 'print bno');
  const entries = new Map<number, number>();
  for (const [, index = '', , value = ''] of text.matchAll(/(\d+)(-\d+)?:(\d+)/g)) {
    entries.set(Number(index), Number(value));
  }
  const size = Number(/\[0-(\d+)\]/.exec(text)?.[1]) + 1;
  return Array.from({ length: count }, (_, i) => entries.get((first + i) % size) ?? -1);
}

/** Overwrites these ranges, of large ones both ends of 256 KiB, with something that is neither zero nor any metadata. */
export function spoil(path: string, ranges: readonly Pair[]): void {
  const chunk = Buffer.alloc(256 * 1024, 0xdb);
  const fd = openSync(path, 'r+');
  for (const [start, end] of ranges) {
    const length = Math.min(chunk.length, end - start);
    writeSync(fd, chunk, 0, length, start);
    writeSync(fd, chunk, 0, length, end - length);
  }
  closeSync(fd);
}

/** What xfs_repair complains of without writing anything; undefined when it finds nothing wrong. */
export function xfsDamage(path: string): string | undefined {
  const { status, stdout, stderr } = spawnSync('xfs_repair', ['-n', path], { encoding: 'utf8' });
  return status === 0 ? undefined : `${stdout}${stderr}`;
}

/** Overwrites bytes in a file. */
export function patch(path: string, offset: number, bytes: Uint8Array): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}

/** `length` bytes of a file. */
export function bytesAt(path: string, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const fd = openSync(path, 'r');
  readSync(fd, bytes, 0, length, offset);
  closeSync(fd);
  return bytes;
}
