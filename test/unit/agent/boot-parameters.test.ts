import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseBootParameters } from '../../../agent/boot-parameters.ts';

const PIN = 'ab'.repeat(32);
const LINE = `BOOT_IMAGE=vmlinuz quiet rehost.orchestrator=192.0.2.10:8443 rehost.boot=http://192.0.2.10:8080/ rehost.pin=${PIN.toUpperCase()} console=ttyS0\n`;

void test('boot-parameters: reads its three words among others', () => {
  assert.deepEqual(parseBootParameters(LINE), {
    host: '192.0.2.10',
    port: 8443,
    bootUrl: 'http://192.0.2.10:8080',
    pin: PIN,
  });
});

void test('boot-parameters: IPv6 addresses stand in brackets', () => {
  const { host, port } = parseBootParameters(LINE.replace('192.0.2.10:8443', '[2001:db8::1]:443'));
  assert.deepEqual({ host, port }, { host: '2001:db8::1', port: 443 });
});

void test('boot-parameters: names the word that is missing or does not fit', () => {
  const refused: [string, RegExp][] = [
    [LINE.replace('rehost.orchestrator', 'other'), /rehost\.orchestrator is missing/],
    [LINE.replace(':8443', ''), /rehost\.orchestrator is not HOST:PORT/],
    [LINE.replace(':8443', ':70000'), /rehost\.orchestrator/],
    [LINE.replace('192.0.2.10:8443', '2001:db8::1:443'), /rehost\.orchestrator/],
    [LINE.replace('http://', 'file://'), /rehost\.boot is not an http URL/],
    [LINE.replace('rehost.boot=', 'rehost.boot=http//'), /rehost\.boot/],
    [LINE.replace(PIN.toUpperCase(), 'abcd'), /rehost\.pin/],
  ];
  for (const [line, message] of refused)
    assert.throws(() => parseBootParameters(line), { code: 'REQUEST_INVALID', message });
});
