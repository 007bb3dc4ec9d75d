import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { bigLetters } from '../../../agent/big-letters.ts';
import { Consoles, consolePaths } from '../../../agent/consoles.ts';
import { Screen } from '../../../agent/screen.ts';

const PANEL = { product: 'ACME Box', serial: 'S1', addresses: ['192.0.2.5 (eth0)'], orchestrator: '192.0.2.10:8443' };

function recorder(): { text: () => string; screen: Screen } {
  let text = '';
  const screen = new Screen((piece) => {
    text += piece;
  });
  return { text: () => text, screen };
}

void test('screen: the panel has the code once on a line by itself, and in large letters', () => {
  const { text, screen } = recorder();
  screen.panel({ ...PANEL, code: 'K7QF-3MWX' });
  const lines = text().split('\n');
  assert.equal(lines.filter((line) => line === 'Pairing code: K7QF-3MWX').length, 1);
  assert.ok(lines.includes('#   #  #####   ###   #####         #####  #   #  #   #  #   #'));
  assert.ok(lines.length <= 25);
});

void test('screen: 80 columns of printable ASCII, whatever the firmware and the errors say', () => {
  const { text, screen } = recorder();
  screen.panel({ ...PANEL, product: `Böx \x1b[2J ${'long '.repeat(40)}`, serial: 'x'.repeat(200), code: '00000000' });
  screen.error({ code: 'INTERNAL', message: 'm'.repeat(300), safe: 'All is safe.', next: 'Do\u0007 this.' });
  screen.progress('p'.repeat(200));
  assert.match(text(), /^[\x20-\x7e\n\r]*$/);
  for (const line of text().split(/[\n\r]/)) assert.ok(line.length < 80, line);
});

void test('screen: an error says what happened, what is safe and what to do', () => {
  const { text, screen } = recorder();
  const error = {
    code: 'TRANSFER_FAILED',
    message: 'It broke.',
    safe: 'Nothing changed.',
    next: 'Try again.',
  } as const;
  screen.error(error);
  assert.equal(
    text(),
    'ERROR TRANSFER_FAILED\n  What happened: It broke.\n  What is safe: Nothing changed.\n  What to do: Try again.\n',
  );
});

void test('screen: progress replaces itself, and what follows stands on its own line', () => {
  const { text, screen } = recorder();
  screen.progress('copying 10');
  screen.progress('copy 9');
  screen.line('done');
  assert.equal(text(), '\rcopying 10\rcopy 9    \ndone\n');
});

void test('screen: the panel comes back only after it has left the screen', () => {
  const { text, screen } = recorder();
  screen.panel({ ...PANEL, code: '00000000' });
  screen.remind();
  const count = (): number => text().split('Pairing code: ').length - 1;
  assert.equal(count(), 1);
  for (let i = 0; i < 20; i++) screen.line(`line ${i}`);
  screen.remind();
  assert.equal(count(), 2);
});

void test('big-letters: every character of a pairing code has a shape of its own', () => {
  const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ-';
  const shapes = Array.from(alphabet, (character) => bigLetters(character).join('\n'));
  assert.equal(new Set(shapes).size, alphabet.length);
  for (const shape of shapes) assert.match(shape, /#/);
});

function deviceTree(t: TestContext, active: string | undefined, devices: readonly string[]): string {
  const root = mkdtempSync(join(tmpdir(), 'rehost-consoles-'));
  t.after(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, 'dev'));
  for (const name of devices) writeFileSync(join(root, 'dev', name), '');
  if (active !== undefined) {
    mkdirSync(join(root, 'sys/class/tty/console'), { recursive: true });
    writeFileSync(join(root, 'sys/class/tty/console/active'), active);
  }
  return root;
}

void test('consoles: each that exists once, whatever the kernel calls it', (t) => {
  const names = (active: string | undefined, devices: string[]): string[] => {
    const root = deviceTree(t, active, devices);
    return consolePaths(root).map((path) => path.slice(root.length + '/dev/'.length));
  };
  const all = ['console', 'tty0', 'tty1', 'ttyS0', 'ttyS1'];
  assert.deepEqual(names('tty0\n', all), ['tty1', 'ttyS0']);
  assert.deepEqual(names('tty0 ttyS0\n', all), ['tty1', 'ttyS0']);
  assert.deepEqual(names('ttyS1\n', all), ['ttyS1', 'tty1', 'ttyS0']);
  assert.deepEqual(names('ttyS0\n', ['console', 'ttyS0']), ['ttyS0']);
  assert.deepEqual(names(undefined, ['console']), ['console']);
});

void test('consoles: all get the text; one that cannot be written does not stop the others', async (t) => {
  const root = deviceTree(t, undefined, ['one', 'two']);
  const consoles = new Consoles([
    join(root, 'dev/one'),
    '/dev/full',
    join(root, 'dev/nowhere/x'),
    join(root, 'dev/two'),
  ]);
  consoles.write('first\n');
  await new Promise((resolve) => setTimeout(resolve, 50));
  consoles.write('second\n');
  const read = (name: string): string => readFileSync(join(root, 'dev', name), 'utf8');
  const both = (): boolean => ['one', 'two'].every((name) => read(name) === 'first\nsecond\n');
  for (let tries = 0; tries < 1000 && !both(); tries++) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.deepEqual([read('one'), read('two')], ['first\nsecond\n', 'first\nsecond\n']);
});
