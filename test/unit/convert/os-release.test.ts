import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mountsBelow } from '../../../receiver/convert/guest-program.ts';
import { isDebianLike, parseOsRelease } from '../../../receiver/convert/os-release.ts';

void test('os-release: Debian and what is made from it are recognised', () => {
  const debian = parseOsRelease('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n');
  assert.deepEqual(debian, { families: ['debian'], prettyName: 'Debian GNU/Linux 12 (bookworm)' });
  assert.ok(isDebianLike(debian));
  assert.ok(isDebianLike(parseOsRelease("ID=linuxmint\nID_LIKE='ubuntu debian'\n")));
  const fedora = parseOsRelease('NAME="Fedora Linux"\nID=fedora\n');
  assert.equal(fedora.prettyName, 'Fedora Linux');
  assert.ok(!isDebianLike(fedora));
});

void test('os-release: a hostile one gives printable, bounded words', () => {
  const hostile = parseOsRelease(`ID=../../x\nID_LIKE="a/b $(reboot)"\nPRETTY_NAME="\x1b[2J${'x'.repeat(500)}"\n`);
  assert.deepEqual(hostile.families, []);
  assert.match(hostile.prettyName, /^\?\[2Jx+$/);
  assert.equal(hostile.prettyName.length, 100);
});

void test('mounts below a root are told from those beside it', () => {
  const mounts = '/dev/a /run/g ext4 rw 0 0\n/dev/b /run/g/usr ext4 rw 0 0\n/dev/c /run/g2 ext4 rw 0 0\n';
  assert.deepEqual(mountsBelow(mounts, '/run/g'), ['/run/g/usr']);
});
