import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';
import { compress } from '../../../iso/lib/compress.ts';
import { writeCpio } from '../../../iso/lib/cpio.ts';
import { isElf, loadablePart, readDynamic } from '../../../iso/lib/elf.ts';
import { addLibrary, addProgram } from '../../../iso/lib/package-root.ts';
import { type Entry, Tree } from '../../../iso/lib/tree.ts';

let work: string;
before(() => {
  work = mkdtempSync(join(tmpdir(), 'rehost-iso-'));
});
after(() => rmSync(work, { recursive: true, force: true }));

const entries: [string, Entry][] = [
  ['usr/bin/tool', { kind: 'file', data: Buffer.from('#!/bin/sh\n'), executable: true }],
  ['bin', { kind: 'link', target: 'usr/bin' }],
  ['etc/odd name', { kind: 'file', data: Buffer.from('abcde'), executable: false }],
  ['empty', { kind: 'file', data: Buffer.alloc(0), executable: false }],
];

function tree(list: readonly [string, Entry][]): Tree {
  const made = new Tree();
  for (const [path, entry] of list) made.add(path, entry);
  return made;
}

void test('iso cpio: the cpio program reads what was written, in any order of adding', () => {
  const archive = writeCpio(tree(entries));
  assert.ok(archive.equals(writeCpio(tree([...entries].reverse()))));
  const out = join(work, 'cpio');
  mkdirSync(out);
  execFileSync('cpio', ['--extract', '--quiet', '--make-directories'], { cwd: out, input: archive });
  assert.equal(readFileSync(join(out, 'etc/odd name'), 'utf8'), 'abcde');
  assert.equal(readFileSync(join(out, 'empty'), 'utf8'), '');
  assert.equal(readlinkSync(join(out, 'bin')), 'usr/bin');
  const listing = execFileSync('cpio', ['--list', '--verbose', '--numeric-uid-gid', '--quiet'], { input: archive });
  assert.match(listing.toString(), /^-rwxr-xr-x +1 0 +0 +10 .*usr\/bin\/tool$/m);
});

void test('iso tree: a path that leaves the image or changes its kind is refused', () => {
  for (const path of ['../etc/passwd', '/etc/passwd', 'a//b', 'a/./b', '']) {
    assert.throws(() => new Tree().add(path, { kind: 'dir' }), /not a path inside an image/);
  }
  const made = tree(entries);
  assert.throws(() => made.add('bin', { kind: 'dir' }), /bin as link and as dir/);
});

void test('iso tree: what one tree has beyond another', () => {
  const both = tree(entries);
  const rest = both.beyond(tree(entries.slice(0, 2)));
  assert.deepEqual(
    rest.sorted().map(([path]) => path),
    ['empty', 'etc', 'etc/odd name'],
  );
});

void test('iso compress: the standard decompresses it, and the kernel finds the next archive at a multiple of four', async () => {
  for (const name of ['a', 'ab', 'abc', 'abcd']) {
    const data = Buffer.from(name.repeat(1000) + name);
    const packed = await compress(work, data);
    assert.equal(packed.length % 4, 0);
    assert.ok(zstdDecompressSync(packed).equals(data));
    assert.ok(packed.equals(await compress(join(work, 'other'), data)));
  }
});

void test('iso elf: libraries and loader of a program as its own loader sees them', () => {
  const dynamic = readDynamic(readFileSync(process.execPath));
  assert.equal(dynamic.interpreter, '/lib64/ld-linux-x86-64.so.2');
  const loaded = execFileSync('ldd', [process.execPath]).toString();
  assert.ok(dynamic.needed.includes('libstdc++.so.6'));
  for (const soname of dynamic.needed) assert.ok(loaded.includes(soname), soname);
  assert.equal(isElf(Buffer.from('#!/bin/sh\n'.padEnd(100))), false);
});

void test('iso elf: a program without what is never loaded is smaller and runs the same', () => {
  const whole = readFileSync(process.execPath);
  const part = loadablePart(whole);
  assert.ok(part.length < whole.length * 0.95);
  const file = join(work, 'node');
  writeFileSync(file, part);
  chmodSync(file, 0o755);
  assert.equal(execFileSync(file, ['-p', 'process.version']).toString().trim(), process.version);
});

void test('iso package root: links are followed inside of the unpacked root only', () => {
  const root = join(work, 'root');
  mkdirSync(join(root, 'usr/bin'), { recursive: true });
  mkdirSync(join(root, 'opt'), { recursive: true });
  writeFileSync(join(root, 'opt/real'), '#!/bin/sh\n', { mode: 0o755 });
  // The same path outside of the root is another file.
  symlinkSync('/opt/../opt/real', join(root, 'usr/bin/tool'));
  const made = new Tree();
  assert.equal(addProgram(root, made, 'tool'), '/usr/bin/tool');
  assert.deepEqual(made.get('opt/real'), { kind: 'file', data: Buffer.from('#!/bin/sh\n'), executable: true });

  symlinkSync('/usr/bin/loop', join(root, 'usr/bin/loop'));
  assert.throws(() => addProgram(root, new Tree(), 'loop'), /too many symbolic links/);
  assert.throws(() => addProgram(root, new Tree(), 'absent'), /No package brings the program absent/);
  assert.throws(() => addLibrary(root, new Tree(), 'libabsent.so.1'), /No package brings the library libabsent\.so\.1/);
});
