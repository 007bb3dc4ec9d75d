import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { blockDisk } from '../../../agent/inventory/block-devices.ts';
import { findUse } from '../../../agent/snapshot/in-use.ts';
import { offlineProvider } from '../../../agent/snapshot/offline.ts';
import type { SnapshotProvider } from '../../../agent/snapshot/provider.ts';
import { atEnd } from './at-end.ts';
import { loopDisk, QUIET, type TestDisk } from './disks.ts';
import { snapshotContract } from './suite.ts';

assert.equal(process.getuid?.(), 0, 'These tests attach loop devices: run them as root.');

function provider(disks: readonly TestDisk[]): SnapshotProvider {
  return offlineProvider(() => disks.map(({ name, serial }) => ({ ...blockDisk('/', name), serial })));
}

snapshotContract({
  name: 'offline',
  provider,
  disk: loopDisk,
  occupy(t, disk) {
    // As device mapper, md and mounts do it.
    const fd = openSync(disk.path, constants.O_RDONLY | constants.O_EXCL);
    atEnd(t, () => closeSync(fd));
  },
});

void test('snapshot offline: nothing can write to the disk from then on, through old and new descriptors', async (t) => {
  const disk = loopDisk(t, Buffer.alloc(1024 * 1024, 7));
  const before = openSync(disk.path, constants.O_RDWR);
  atEnd(t, () => closeSync(before));
  writeSync(before, Buffer.alloc(512, 8), 0, 512, 0);
  const snapshot = await provider([disk]).create([disk.name]);
  atEnd(t, () => snapshot.release());
  assert.throws(() => writeSync(before, Buffer.alloc(512, 9), 0, 512, 0), { code: 'EPERM' });
  const mount = join(tmpdir(), 'rehost-nowhere');
  assert.throws(() => execFileSync('mount', [disk.path, mount], QUIET));
  assert.throws(() => execFileSync('mkfs.ext4', ['-qF', disk.path], QUIET));
  // What was written before, and nothing since.
  assert.equal(readFileSync(disk.path)[0], 8);
});

void test('snapshot offline: nothing can claim a disk while its snapshot stands', async (t) => {
  const disk = loopDisk(t, Buffer.alloc(1024 * 1024));
  const snapshot = await provider([disk]).create([disk.name]);
  const claim = (): number => openSync(disk.path, constants.O_RDONLY | constants.O_EXCL);
  assert.throws(claim, { code: 'EBUSY' });
  await assert.rejects(provider([disk]).create([disk.name]), { code: 'SNAPSHOT_REFUSED', message: /another job/ });
  await snapshot.release();
  closeSync(claim());
});

void test('snapshot offline: says where a disk is mounted or that it is swap', (t) => {
  const disk = loopDisk(t, Buffer.alloc(16 * 1024 * 1024));
  assert.equal(findUse(disk.name), undefined);
  execFileSync('mkfs.ext4', ['-qF', disk.path], QUIET);
  const mount = mkdtempSync(join(tmpdir(), 'rehost-mount-'));
  // Under another name: mounts are known by the device's number.
  const alias = `${mount}.node`;
  const { rdev } = statSync(disk.path);
  execFileSync('mknod', [alias, 'b', String(rdev >> 8), String(rdev & 255)], QUIET);
  try {
    execFileSync('mount', [alias, mount], QUIET);
    try {
      assert.equal(findUse(disk.name), `${disk.name} is mounted on ${mount}`);
    } finally {
      execFileSync('umount', [mount], QUIET);
    }
  } finally {
    rmSync(alias);
    rmdirSync(mount);
  }
  execFileSync('mkswap', ['-f', disk.path], QUIET);
  execFileSync('swapon', [disk.path], QUIET);
  try {
    assert.equal(findUse(disk.name), `${disk.name} is used as swap`);
  } finally {
    execFileSync('swapoff', [disk.path], QUIET);
  }
});

void test('snapshot offline: a mounted partition makes the whole disk busy', (t) => {
  const disk = loopDisk(t, Buffer.alloc(16 * 1024 * 1024));
  execFileSync('sfdisk', ['-q', disk.path], { ...QUIET, input: 'label: gpt\n,12M,L\n' });
  execFileSync('partx', ['--add', disk.path], QUIET);
  const mount = mkdtempSync(join(tmpdir(), 'rehost-mount-'));
  try {
    execFileSync('mkfs.ext4', ['-qF', `${disk.path}p1`], QUIET);
    execFileSync('mount', [`${disk.path}p1`, mount], QUIET);
    try {
      assert.equal(findUse(disk.name), `${disk.name}p1 is mounted on ${mount}`);
    } finally {
      execFileSync('umount', [mount], QUIET);
    }
  } finally {
    rmdirSync(mount);
    execFileSync('partx', ['--delete', disk.path], QUIET);
  }
});
