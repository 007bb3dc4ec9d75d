/** Allocation maps of NTFS volumes that were in use (root: they are mounted through FUSE). */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { destroy, MIB, mapOf, pairs } from '../../lab/disk-images.ts';
import { bitmapFree, mkntfs } from '../../lab/ntfs.ts';

const folder = mkdtempSync(join(tmpdir(), 'rehost-ntfs-'));
const mountPoint = join(folder, 'mnt');
mkdirSync(mountPoint);
after(() => rmSync(folder, { recursive: true, force: true }));

/** Mounts the image for the time of `use`. */
function mounted<T>(image: string, options: string, use: () => T): T {
  execFileSync('ntfs-3g', ['-o', options, image, mountPoint], { stdio: ['ignore', 'pipe', 'pipe'] });
  try {
    return use();
  } finally {
    execFileSync('umount', [mountPoint]);
  }
}

/** Writes files of `bytes` until there is no room, at most `most`; answers how many. */
function fill(prefix: string, bytes: number, most: number): number {
  const content = randomBytes(bytes);
  for (let i = 0; i < most; i++) {
    try {
      writeFileSync(join(mountPoint, `${prefix}-${i}`), content);
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
      return i;
    }
  }
  return most;
}

/** Hashes of all files by name. */
function digest(image: string): Map<string, string> {
  return mounted(image, 'ro', () => {
    const names = readdirSync(mountPoint, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    return new Map(
      names.map((entry) => {
        const path = join(entry.parentPath, entry.name);
        return [path, createHash('sha256').update(readFileSync(path)).digest('hex')];
      }),
    );
  });
}

/** Runs of a record's attribute list and data, by ntfscluster. */
function describeRecord(image: string, record: number): string {
  return execFileSync('ntfscluster', ['-I', String(record), image], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** What the check before a resize says, which counts the clusters of all files; a full volume cannot be resized. */
function check(image: string): string {
  const { stdout } = spawnSync('ntfsresize', ['--info', '--force', '--no-progress-bar', image], { encoding: 'utf8' });
  assert.match(stdout, /Accounting clusters/);
  return stdout;
}

/** Everything is as before when all that is free has been destroyed. */
function survives(image: string): void {
  const map = mapOf(image);
  assert.equal(map.areas[0]?.found, 'NTFS');
  assert.deepEqual(pairs(map.free), bitmapFree(image, 4096));
  const before = digest(image);
  const checked = check(image);
  assert.ok(before.size > 20, 'there are files');
  destroy(image, pairs(map.free));
  assert.deepEqual(digest(image), before);
  assert.equal(check(image), checked);
  execFileSync('ntfsfix', ['--no-action', image], { stdio: ['ignore', 'pipe', 'pipe'] });
}

describe('NTFS volumes that were in use', () => {
  it('keep directories, sparse and compressed files when all free bytes are destroyed', () => {
    const image = join(folder, 'ordinary');
    mkntfs(image, 200 * MIB, ['--enable-compression']);
    mounted(image, 'compression', () => {
      mkdirSync(join(mountPoint, 'directory'));
      for (let i = 0; i < 400; i++)
        writeFileSync(join(mountPoint, 'directory', `a file with a long name ${i}`), randomBytes(500 + i * 61));
      writeFileSync(join(mountPoint, 'compressed'), Buffer.concat([Buffer.alloc(4 * MIB, 'text '), randomBytes(MIB)]));
      const sparse = openSync(join(mountPoint, 'sparse'), 'w');
      ftruncateSync(sparse, 60 * MIB);
      writeSync(sparse, randomBytes(100_000), 0, 100_000, 30 * MIB);
      closeSync(sparse);
      for (let i = 0; i < 400; i += 2) rmSync(join(mountPoint, 'directory', `a file with a long name ${i}`));
    });
    survives(image);
  });

  it('keep everything with a fragmented file and a fragmented MFT, both with attribute lists', () => {
    const image = join(folder, 'fragmented');
    mkntfs(image, 40 * MIB, ['-c', '4096', '-z', '1']);
    mounted(image, 'defaults', () => {
      const count = fill('block', 4096, 20_000);
      for (let i = 0; i < count; i += 2) rmSync(join(mountPoint, `block-${i}`));
      fill('large', 4 * MIB, 1);
      fill('tiny', 100, 30_000);
    });
    assert.match(describeRecord(image, 0), /0x20 - /, 'the MFT has an attribute list');
    survives(image);
  });
});
