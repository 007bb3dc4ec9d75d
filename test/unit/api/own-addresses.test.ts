import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

const run = promisify(execFile);
const MODULE = join(import.meta.dirname, '../../../appliance/api/own-addresses.ts');

/** Runs code in a network namespace of its own after `setup`, and answers what it prints. Needs no root: the user namespace maps it. */
async function inNamespace(setup: string, code: string): Promise<string> {
  const script = `${setup}\nexec "$0" --input-type=module -e "$1"`;
  const argv = [
    '--map-root-user',
    '--net',
    'sh',
    '-euc',
    script,
    process.execPath,
    `import * as own from '${MODULE}'; ${code}`,
  ];
  const { stdout } = await run('unshare', argv, { timeout: 60_000 });
  return stdout.trim();
}

void test('own-addresses: IPv4 first, neither loopback nor link-local', async () => {
  const setup = `ip link set lo up
    ip link add card type veth peer name other; ip link set other up
    ip addr add 2001:db8::5/64 dev card nodad
    ip addr add 169.254.1.1/16 dev card
    ip addr add 192.0.2.5/24 dev card
    ip link set card up`;
  const said = await inNamespace(setup, 'console.log(JSON.stringify(own.ownAddresses()))');
  assert.deepEqual(JSON.parse(said), [
    { name: 'card', address: '192.0.2.5' },
    { name: 'card', address: '2001:db8::5' },
  ]);
});

void test('own-addresses: waits for the first address, and not for ever', async () => {
  const setup = `ip link add card type veth peer name other; ip link set other up; ip link set card up
    (sleep 0.3; ip addr add 192.0.2.5/24 dev card) >/dev/null 2>&1 &`;
  const wait = 'await own.waitForAddress(50_000); console.log(own.ownAddresses().length)';
  assert.equal(await inNamespace(setup, wait), '1');
  assert.equal(await inNamespace('', 'await own.waitForAddress(100); console.log(own.ownAddresses().length)'), '0');
});
