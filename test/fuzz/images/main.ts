/**
 * Makes the disk images that the allocation targets change: `node test/fuzz/images/main.ts` (root, for LVM's loop device). Their
 * packed forms are in the repository, so that an input means the same everywhere.
 */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LvmLab } from '../../real/allocation/lvm-lab.ts';
import { BLOCK, pack } from '../engine/sparse-image.ts';

const MIB = 1024 * 1024;
const UUID = '01234567-89ab-cdef-0123-456789abcdef';
const folder = mkdtempSync(join(tmpdir(), 'rehost-fuzz-images-'));

function run(command: string, arguments_: readonly string[], input?: string): string {
  return execFileSync(command, arguments_, { encoding: 'utf8', ...(input === undefined ? {} : { input }) });
}

/** Some files and folders for a file system to hold. */
function tree(): string {
  const root = join(folder, 'tree');
  mkdirSync(join(root, 'inner'), { recursive: true });
  for (let i = 0; i < 6; i++) writeFileSync(join(root, 'inner', `file-${i}`), Buffer.alloc(5000 * (i + 1), 0x40 + i));
  return root;
}

function ext4(path: string, mib: number, ...options: string[]): void {
  run('mke2fs', ['-q', '-F', '-t', 'ext4', '-U', UUID, '-d', tree(), ...options, path, `${mib}M`]);
}

/** A disk with a table, and what lies in its partitions: [start in MiB, image]. */
function disk(path: string, table: string, parts: readonly [number, string][]): void {
  run('sfdisk', ['-q', path], table);
  for (const [start, part] of parts) {
    run('dd', [`if=${part}`, `of=${path}`, 'bs=1M', `seek=${start}`, 'conv=notrunc,sparse', 'status=none']);
  }
}

function part(name: string, mib: number, make: (path: string) => void): string {
  const path = join(folder, name);
  writeFileSync(path, '');
  truncateSync(path, mib * MIB);
  make(path);
  return path;
}

/** A group with a volume that holds a file system, and one of swap space. */
function lvm(path: string): void {
  const lab = new LvmLab();
  try {
    const { image } = lab.group(32 * MIB);
    lab.create('root', 12);
    lab.create('swap', 4);
    const [root] = lab.pieces('root');
    const inner = part('lvm-ext4', 12, (made) => ext4(made, 12, '-b', '1024'));
    run('dd', [
      `if=${inner}`,
      `of=${image}`,
      'bs=1M',
      `seek=${(root?.disk ?? 0) / MIB}`,
      'conv=notrunc,sparse',
      'status=none',
    ]);
    run('cp', ['--sparse=always', image, path]);
  } finally {
    lab.end();
  }
}

const IMAGES: Readonly<Record<string, [number, (path: string) => void]>> = {
  'ext4-plain': [8, (path) => ext4(path, 8, '-b', '1024', '-O', '^metadata_csum,^uninit_bg')],
  'ext4-checksums': [24, (path) => ext4(path, 24, '-b', '4096', '-g', '1024', '-O', 'metadata_csum,64bit')],
  'ext4-bigalloc': [24, (path) => ext4(path, 24, '-O', 'bigalloc,^metadata_csum', '-C', '16384')],
  swap: [2, (path) => run('mkswap', ['-U', UUID, path])],
  gpt: [
    16,
    (path) =>
      disk(path, `label: gpt\nlabel-id: ${UUID}\nstart=2048,size=16384\nstart=18432,size=8192\n`, [
        [1, part('gpt-ext4', 8, (inner) => ext4(inner, 8, '-b', '1024'))],
        [9, part('gpt-swap', 4, (inner) => run('mkswap', ['-U', UUID, inner]))],
      ]),
  ],
  mbr: [
    16,
    (path) =>
      disk(
        path,
        'label: dos\nlabel-id: 0x12345678\nstart=2048,size=8192\nstart=10240,size=18432,type=5\nstart=12288,size=4096\nstart=18432,size=8192\n',
        [
          [1, part('mbr-ext4', 4, (inner) => ext4(inner, 4, '-b', '1024'))],
          [6, part('mbr-swap', 2, (inner) => run('mkswap', ['-U', UUID, inner]))],
        ],
      ),
  ],
  'xfs-plain': [300, (path) => run('mkfs.xfs', ['-q', '-f', '-m', `crc=0,uuid=${UUID}`, '-d', 'agcount=4', path])],
  'xfs-checksums': [300, (path) => run('mkfs.xfs', ['-q', '-f', '-m', `uuid=${UUID}`, path])],
  btrfs: [128, (path) => run('mkfs.btrfs', ['-q', '-U', UUID, '--rootdir', tree(), path])],
  ntfs: [8, (path) => run('mkntfs', ['-q', '-F', '-Q', '-s', '512', '-p', '0', '-H', '0', '-S', '0', path])],
  lvm: [32, lvm],
};

function packFile(path: string): Buffer {
  const fd = openSync(path, 'r');
  try {
    const { size } = statSync(path);
    const numbers = Array.from({ length: Math.ceil(size / BLOCK) }, (_, number) => number);
    return pack(size, numbers, (number) => {
      const block = Buffer.alloc(BLOCK);
      readSync(fd, block, 0, BLOCK, number * BLOCK);
      return block;
    });
  } finally {
    closeSync(fd);
  }
}

try {
  for (const [name, [mib, make]] of Object.entries(IMAGES)) {
    const packed = packFile(part(name, mib, make));
    writeFileSync(join(import.meta.dirname, `${name}.br`), packed);
    console.log(`${name}: ${packed.length} bytes`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
