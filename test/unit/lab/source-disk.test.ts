import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { run } from '../../lab/command.ts';
import { manifestLine } from '../../lab/source-disk/guest-data.ts';
import { DISK_BYTES, LAYOUTS, partitionNumber, partitionScript } from '../../lab/source-disk/layout.ts';

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'rehost-unit-'));
  try {
    await work(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

void test('source disk: manifest lines are those of sha256sum, odd names included', () =>
  inFolder(async (folder) => {
    const names = ['plain', 'with space', 'back\\slash', 'new\nline', 'é'];
    for (const name of names) await writeFile(join(folder, name), name);
    const { stdout } = await promisify(execFile)('sha256sum', names, { cwd: folder });
    const hashes = [...stdout.matchAll(/^\\?([0-9a-f]{64}) {2}/gm)].map((match) => match[1] ?? '');
    assert.equal(names.map((name, index) => manifestLine(hashes[index] ?? '', name)).join(''), stdout);
  }));

for (const layout of Object.values(LAYOUTS)) {
  void test(`source disk: sfdisk makes the ${layout.kind} layout of its script`, () =>
    inFolder(async (folder) => {
      const path = join(folder, 'disk.raw');
      await writeFile(path, '');
      await truncate(path, DISK_BYTES);
      await run(['/usr/sbin/sfdisk', '--quiet', path], { input: partitionScript(layout) });
      const types = await run(['/usr/bin/partx', '--output', 'TYPE', '--noheadings', '--raw', path]);
      assert.deepEqual(
        types.trim().toUpperCase().split('\n'),
        layout.partitions.map(({ type }) => type),
      );
    }));
}

void test('source disk: a partition that a layout lacks is named, not guessed', () => {
  assert.equal(partitionNumber(LAYOUTS.bios, 'root'), 2);
  assert.throws(() => partitionNumber(LAYOUTS.bios, 'esp'), /no esp partition/);
});
