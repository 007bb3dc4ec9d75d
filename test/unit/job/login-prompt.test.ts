import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findLoginPrompt } from '../../../appliance/job/login-prompt.ts';

test('login-prompt: a getty that waits is found, with its host name', () => {
  assert.equal(findLoginPrompt('Debian GNU/Linux 13 db-paris-1 ttyS0\r\n\r\ndb-paris-1 login: '), 'db-paris-1 login:');
});

test('login-prompt: colours and cursor movements around it do not hide it', () => {
  assert.equal(
    findLoginPrompt('\x1b[0m[  \x1b[32mOK\x1b[0m  ] Started\r\n\x1b[2J\x1b[Hdb1 login: \x1b[0m'),
    'db1 login:',
  );
});

test('login-prompt: a line that only mentions a login is none', () => {
  assert.equal(findLoginPrompt('[  OK  ] Started systemd-logind.service - User Login Management.\r\n'), undefined);
  assert.equal(findLoginPrompt('Last login: Mon\r\n'), undefined);
  assert.equal(findLoginPrompt('db1 login: \r\n[   61.2] EXT4-fs error'), undefined);
});

test('login-prompt: half a prompt is none yet', () => {
  assert.equal(findLoginPrompt('\r\ndb1 logi'), undefined);
});
