import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ERROR_CODES, fromWire, RehostError, toWire } from '../../../appliance/api/errors.ts';

const ROOT = join(import.meta.dirname, '../../..');
const LIST = 'appliance/api/errors.ts';

function sources(): string[] {
  const folders = ['appliance', 'agent', 'receiver', 'native', 'iso'];
  const files = folders.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name)),
  );
  return files.filter((name) => name.endsWith('.ts') && name !== LIST);
}

void test('errors: every code of the list is used somewhere in the product', () => {
  const text = sources()
    .map((name) => readFileSync(join(ROOT, name), 'utf8'))
    .join('\n');
  const unused = Object.keys(ERROR_CODES).filter((code) => !text.includes(`'${code}'`));
  assert.deepEqual(unused, []);
});

void test('errors: every code has an HTTP status of an error, and advice in whole sentences', () => {
  for (const [code, { status, safe, next }] of Object.entries(ERROR_CODES)) {
    assert.match(code, /^[A-Z]+(_[A-Z]+)*$/);
    assert.ok(status >= 400 && status < 600, code);
    for (const advice of [safe, next]) assert.match(advice, /^[A-Z'].*[.)]$/, code);
  }
});

void test('errors: code and all four facts survive the wire; an unknown code becomes INTERNAL with its text', () => {
  const error = new RehostError('POOL_FULL', "pool 'a<b' is full", { next: 'Wait.' });
  const back = fromWire(JSON.parse(JSON.stringify(toWire(error))));
  assert.deepEqual(toWire(back), toWire(error));
  const newer = fromWire({ code: 'FROM_THE_FUTURE', message: 'm', safe: 's', next: 'n' });
  assert.deepEqual(toWire(newer), { code: 'INTERNAL', message: 'm', safe: 's', next: 'n' });
  assert.equal(fromWire({ code: 'toString', message: 'm', safe: 's', next: 'n' }).code, 'INTERNAL');
});
