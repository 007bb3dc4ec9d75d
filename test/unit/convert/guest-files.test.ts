import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, lstat, mkdir, mkdtemp, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { RehostError } from '../../../appliance/api/errors.ts';
import {
  kindOf,
  listFolder,
  makeFolder,
  readText,
  removeFile,
  replaceKeeping,
  writeText,
} from '../../../receiver/convert/guest-files.ts';
import { resolveInGuest } from '../../../receiver/convert/guest-path.ts';

/** `host` stands for the transfer VM: nothing in it may ever change or be read. */
let host: string;
let root: string;
beforeEach(async () => {
  host = await mkdtemp(join(tmpdir(), 'rehost-paths-'));
  root = join(host, 'guest');
  await mkdir(join(root, 'etc'), { recursive: true });
  await writeFile(join(host, 'secret'), 'host');
  await writeFile(join(root, 'secret'), 'guest');
});
afterEach(async () => {
  await rm(host, { recursive: true });
});

void test('guest paths: symlinks and dots stay in the guest', async () => {
  await symlink('/', join(root, 'etc/root'));
  await symlink('../../../../../../secret', join(root, 'etc/up'));
  await symlink('/secret', join(root, 'etc/absolute'));
  await symlink(join(host, 'secret'), join(root, 'etc/real'));
  await symlink('root/etc/absolute', join(root, 'etc/chain'));
  for (const path of [
    '/secret',
    '/../../secret',
    '/etc/../../../secret',
    '/etc/up',
    '/etc/absolute',
    '/etc/root/secret',
    '/etc/root/../../secret',
    '/etc/chain',
  ]) {
    assert.equal(await resolveInGuest(root, path), join(root, 'secret'), path);
    assert.equal(await readText(root, path), 'guest', path);
  }
  // An absolute link that names a path of the host names that path in the guest, where there is none.
  assert.equal(await resolveInGuest(root, '/etc/real'), join(root, host, 'secret'));
  assert.equal(await readText(root, '/etc/real'), undefined);
  assert.equal(await resolveInGuest(root, '/etc/up', { followLast: false }), join(root, 'etc/up'));
});

void test('guest paths: loops and absurd paths end in an error', async () => {
  await symlink('b', join(root, 'a'));
  await symlink('a', join(root, 'b'));
  await symlink('self/self', join(root, 'self'));
  for (const path of ['/a', '/self', `/${'x/'.repeat(2000)}`, '/etc/\0']) {
    await assert.rejects(
      resolveInGuest(root, path),
      (error) => error instanceof RehostError && error.code === 'CONVERSION_FAILED',
      path.slice(0, 20),
    );
  }
});

void test('guest files: writing through a link changes the target in the guest and keeps the link', async () => {
  await symlink('/secret', join(root, 'etc/fstab'));
  await replaceKeeping(root, '/etc/fstab', 'new');
  assert.equal(await readFile(join(host, 'secret'), 'utf8'), 'host');
  assert.equal(await readFile(join(root, 'secret'), 'utf8'), 'new');
  assert.equal(await readlink(join(root, 'etc/fstab')), '/secret');
  assert.equal(await readFile(join(root, 'etc/fstab.rehost-orig'), 'utf8'), 'guest');
});

void test('guest files: names that the guest prepared for our temporary and kept files are not followed', async () => {
  await writeFile(join(root, 'etc/fstab'), 'old');
  await symlink(join(host, 'secret'), join(root, 'etc/fstab.rehost-new'));
  await symlink(join(host, 'planted'), join(root, 'etc/fstab.rehost-orig'));
  await mkdir(join(root, host), { recursive: true });
  await replaceKeeping(root, '/etc/fstab', 'new');
  assert.equal(await readFile(join(root, 'etc/fstab'), 'utf8'), 'new');
  assert.equal(await readFile(join(host, 'secret'), 'utf8'), 'host');
  assert.equal(await lstat(join(host, 'planted')).catch(() => undefined), undefined);
});

void test('guest files: mode, owner and odd bytes survive, and only one original is kept', async () => {
  const path = join(root, 'etc/conf');
  await writeFile(path, Buffer.from([0x61, 0xff, 0x0a]));
  await chmod(path, 0o640);
  const text = (await readText(root, '/etc/conf')) ?? '';
  await replaceKeeping(root, '/etc/conf', `${text}b`);
  await replaceKeeping(root, '/etc/conf', `${text}bc`);
  assert.deepEqual(await readFile(path), Buffer.from([0x61, 0xff, 0x0a, 0x62, 0x63]));
  assert.deepEqual(await readFile(`${path}.rehost-orig`), Buffer.from([0x61, 0xff, 0x0a]));
  for (const each of [path, `${path}.rehost-orig`]) assert.equal((await stat(each)).mode & 0o7777, 0o640);
  assert.deepEqual(await listFolder(root, '/etc'), ['conf', 'conf.rehost-orig']);
});

void test('guest files: what is no regular file is neither read nor replaced', async () => {
  execFileSync('mkfifo', [join(root, 'etc/fifo')]);
  await mkdir(join(root, 'etc/folder'));
  assert.equal(await kindOf(root, '/etc/fifo'), 'other');
  assert.equal(await readText(root, '/etc/fifo'), undefined);
  assert.equal(await readText(root, '/etc/folder'), undefined);
  for (const path of ['/etc/fifo', '/etc/folder']) {
    await assert.rejects(
      writeText(root, path, 'x'),
      (error) => error instanceof RehostError && error.code === 'CONVERSION_FAILED',
    );
  }
});

void test('guest files: folders are made in the guest, and removing a link leaves its target', async () => {
  await symlink(host, join(root, 'etc/out'));
  await mkdir(join(root, host), { recursive: true });
  await makeFolder(root, '/etc/out/a/b');
  assert.equal((await lstat(join(root, host, 'a/b'))).isDirectory(), true);
  assert.equal(await lstat(join(host, 'a')).catch(() => undefined), undefined);
  await symlink('/secret', join(root, 'etc/link'));
  await removeFile(root, '/etc/link');
  assert.equal(await readFile(join(root, 'secret'), 'utf8'), 'guest');
});
