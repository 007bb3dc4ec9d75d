import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { JobLog } from '../../../appliance/job/log.ts';

void test('job log: of a console that floods the last words are kept, and the disk is not filled', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'rehost-log-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const warnings: string[] = [];
  const log = new JobLog(folder, 'abc', (text) => warnings.push(text));
  const mib = 1024 * 1024;
  for (let i = 0; i < 45; i++) log.console('transfer', Buffer.alloc(mib, `${i % 10}`));
  log.console('transfer', Buffer.from('Kernel panic'));
  const read = (name: string) => readFileSync(join(folder, 'jobs', 'abc', name), 'latin1');
  const [old, last] = [read('transfer.console.1'), read('transfer.console')];
  assert.ok(last.endsWith('4Kernel panic'));
  const kept = old.length + last.length;
  assert.ok(kept >= 8 * mib && kept <= 16 * mib, `${kept} bytes`);
  assert.deepEqual(warnings, []);
});
