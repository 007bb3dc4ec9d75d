import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

const iso = join(import.meta.dirname, '../../../iso');

void test('iso init: every script of the overlays is POSIX sh that parses', () => {
  const scripts = readdirSync(iso, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.includes('overlay') && /(\/init|\.sh)$/.test(path))
    .map((path) => join(iso, path));
  assert.equal(scripts.length, 7);
  for (const script of scripts) execFileSync('sh', ['-n', script]);
});

void test("iso init: the config disk's network is found in any layout of its JSON, and nothing but digits, dots and slash is taken", () => {
  const folder = mkdtempSync(join(tmpdir(), 'rehost-init-'));
  try {
    const read = (json: string, name: string): string => {
      const disk = join(folder, 'disk');
      writeFileSync(disk, Buffer.concat([Buffer.from(`REHOST-CONFIG-1\n${json}`), Buffer.alloc(512)]));
      const script = '. "$1"; network_string "$2" "$3"';
      const library = join(iso, 'transfer/overlay/usr/lib/rehost/static-network.sh');
      return execFileSync('sh', ['-c', script, 'sh', library, disk, name]).toString().trim();
    };
    const config = { address: '192.0.2.1', network: { address: '10.0.0.2/24', gateway: '10.0.0.1' }, secret: 'x' };
    for (const indent of [0, 2]) {
      assert.equal(read(JSON.stringify(config, null, indent), 'address'), '10.0.0.2/24');
      assert.equal(read(JSON.stringify(config, null, indent), 'gateway'), '10.0.0.1');
    }
    assert.equal(read('{"address":"192.0.2.1"}', 'address'), '');
    assert.equal(read('{"network":{"address":"10.0.0.2/24"}}', 'gateway'), '');
    assert.equal(read('{"network":{"address":"$(reboot)"}}', 'address'), '');
    assert.equal(read('{"network":{"address":"10.0.0.2 dev lo"}}', 'address'), '');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
