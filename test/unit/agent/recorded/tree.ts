/** Lays out a recorded /sys below a temporary folder. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';

/** Answers the root, which is removed after the test. `name` is a file of this folder, without `.txt`. */
export function recordedTree(t: TestContext, name: 'pc' | 'q35'): string {
  const root = mkdtempSync(join(tmpdir(), 'rehost-recorded-'));
  t.after(() => rmSync(root, { recursive: true }));
  for (const line of readFileSync(join(import.meta.dirname, `${name}.txt`), 'utf8').split('\n')) {
    const [kind, path = '', value = ''] = line.split(' ');
    const at = join(root, path);
    if (kind !== '#' && kind !== '') mkdirSync(kind === 'd' ? at : dirname(at), { recursive: true });
    if (kind === 'f') writeFileSync(at, Buffer.from(value, 'base64'));
    if (kind === 'l') symlinkSync(value, at);
  }
  return root;
}
