import assert from 'node:assert/strict';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { AuditLog } from '../../../appliance/store/audit.ts';
import { temporaryFolder } from '../../lab/orchestrator/folder.ts';

const entry = (subject: string) => ({ who: 'local socket', what: 'machine.approve', subject, result: 'ok' });

void test('audit: one line per entry, in order, whatever the subject holds', async (t) => {
  const path = join(await temporaryFolder(t), 'audit.log');
  const log = await AuditLog.open(path);
  await Promise.all(['one', 'two\n{"who":"nobody"}', 'three'].map((subject) => log.append(entry(subject))));
  await log.close();
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  const subjects = lines.map((line) => JSON.parse(line).subject);
  assert.deepEqual(subjects, ['one', 'two\n{"who":"nobody"}', 'three']);
  assert.match(JSON.parse(lines[0] ?? '').at, /^\d{4}-\d\d-\d\dT/);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
});

void test('audit: entries of earlier runs stay; a torn last line does not swallow the next', async (t) => {
  const path = join(await temporaryFolder(t), 'audit.log');
  await writeFile(path, '{"at":"2026","who":"x"}\n{"at":"20');
  const log = await AuditLog.open(path);
  await log.append(entry('after'));
  await log.close();
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  assert.deepEqual(lines.slice(0, 2), ['{"at":"2026","who":"x"}', '{"at":"20']);
  assert.equal(JSON.parse(lines[2] ?? '').subject, 'after');
});
