import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findReplicas } from '../../../receiver/control/replicas.ts';

void test('replicas: each disk gets the device with its serial; a larger one will do, a smaller one not', async () => {
  const sizes = new Map([
    ['replica-sda', { path: '/dev/null', sizeBytes: 4096 }],
    ['replica-sdb', { path: '/dev/zero', sizeBytes: 8192 }],
  ]);
  const find = (serial: string): { path: string; sizeBytes: number } | undefined => sizes.get(serial);
  const sda = { disk: 'sda', serial: 'replica-sda', sizeBytes: 4096 };
  const sdb = { disk: 'sdb', serial: 'replica-sdb', sizeBytes: 4096 };
  assert.deepEqual(await findReplicas([sdb, sda], find), [
    { disk: 'sdb', path: '/dev/zero', sizeBytes: 4096 },
    { disk: 'sda', path: '/dev/null', sizeBytes: 4096 },
  ]);
  await assert.rejects(findReplicas([{ ...sda, sizeBytes: 4097 }], find), {
    code: 'REQUEST_INVALID',
    message: /4096 bytes; the disk 'sda' has 4097/,
  });
});
