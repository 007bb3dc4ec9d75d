import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { probeAll } from '../../../agent/inventory/blkid.ts';

void test('blkid: what stands on several devices at once, the unknown ones left out', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'rehost-blkid-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [ext4, swap, empty, gpt] = ['ext4', 'swap', 'empty', 'gpt'].map((name) => join(folder, name));
  for (const path of [ext4, swap, empty, gpt]) {
    writeFileSync(String(path), '');
    truncateSync(String(path), 8 * 1024 * 1024);
  }
  const quiet = { stdio: 'ignore', timeout: 60_000 } as const;
  execFileSync(
    'mkfs.ext4',
    ['-qF', '-L', 'a b"c\\d', '-U', '11111111-2222-4333-8444-555555555555', String(ext4)],
    quiet,
  );
  execFileSync('mkswap', [String(swap)], quiet);
  execFileSync('sfdisk', ['-q', String(gpt)], {
    ...quiet,
    stdio: ['pipe', 'ignore', 'ignore'],
    input: 'label: gpt\n,2M\n',
  });

  const failed: Error[] = [];
  const paths = [String(empty), String(ext4), String(swap), String(gpt), join(folder, 'absent')];
  const found = await probeAll(paths, (error) => failed.push(error));
  assert.deepEqual(failed, []);
  const facts = found.get(String(ext4));
  assert.equal(facts?.get('TYPE'), 'ext4');
  assert.equal(facts?.get('LABEL'), 'a b"c\\d');
  assert.equal(facts?.get('UUID'), '11111111-2222-4333-8444-555555555555');
  assert.equal(found.get(String(swap))?.get('TYPE'), 'swap');
  assert.equal(found.get(String(gpt))?.get('PTTYPE'), 'gpt');
  assert.equal(found.get(String(empty))?.size, 0);
});

void test('blkid: a tool that is not there is told for each device, and the others go on', async (t) => {
  const path = process.env.PATH;
  t.after(() => {
    process.env.PATH = path;
  });
  process.env.PATH = '/nonexistent';
  const failed: string[] = [];
  const found = await probeAll(['/dev/a', '/dev/b'], (error) => failed.push(`${error.code} ${error.message}`));
  assert.equal(found.size, 0);
  assert.match(failed.sort().join('\n'), /^TOOL_FAILED blkid \/dev\/a: .*ENOENT.*\nTOOL_FAILED blkid \/dev\/b: /);
});
