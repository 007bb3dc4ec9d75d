import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ConfigDisk, decodeConfigDisk, encodeConfigDisk } from '../../../appliance/api/config-disk.ts';
import { CONFIG_DISK_BYTES, CONFIG_DISK_MAGIC } from '../../../appliance/api/transfer.ts';

const CONFIG: ConfigDisk = {
  version: 1,
  orchestrator: { host: '198.51.100.7', port: 8443 },
  caPem: '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n',
  jobId: 'abc123',
  secret: Buffer.alloc(32, 7).toString('base64'),
  network: { address: '10.0.0.2/24', gateway: '10.0.0.1' },
  transferListen: 10809,
};

void test('config-disk: what is written is what is read', () => {
  const disk = encodeConfigDisk(CONFIG);
  assert.equal(disk.length, CONFIG_DISK_BYTES);
  assert.equal(disk.subarray(0, CONFIG_DISK_MAGIC.length).toString(), 'REHOST-CONFIG-1\n');
  assert.equal(disk[disk.length - 1], 0);
  assert.deepEqual(decodeConfigDisk(disk), CONFIG);
});

void test('config-disk: refuses another disk, damaged JSON and fields that do not fit', () => {
  assert.throws(() => decodeConfigDisk(Buffer.alloc(CONFIG_DISK_BYTES)), { code: 'REQUEST_INVALID', message: /magic/ });
  assert.throws(() => decodeConfigDisk(Buffer.from(`${CONFIG_DISK_MAGIC}{"version":1,`)), {
    code: 'REQUEST_INVALID',
    message: /JSON/,
  });
  const wrongJob = Buffer.from(CONFIG_DISK_MAGIC + JSON.stringify({ ...CONFIG, jobId: '../x' }));
  assert.throws(() => decodeConfigDisk(wrongJob), { code: 'REQUEST_INVALID', message: /\/jobId/ });
  const unknownField = Buffer.from(CONFIG_DISK_MAGIC + JSON.stringify({ ...CONFIG, extra: 1 }));
  assert.throws(() => decodeConfigDisk(unknownField), { code: 'REQUEST_INVALID' });
  assert.throws(() => encodeConfigDisk({ ...CONFIG, orchestrator: { host: 'x', port: 0 } }), {
    code: 'REQUEST_INVALID',
    message: /\/orchestrator\/port/,
  });
});
