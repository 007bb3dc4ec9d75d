import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findBySerial, waitForDisk } from '../../../receiver/block-serials.ts';

void test('block-serials: a serial that no disk here carries is not found', () => {
  assert.equal(findBySerial('rehost-no-such-serial'), undefined);
});

void test('block-serials: waits for a disk that appears later', async () => {
  let looks = 0;
  const find = (): { path: string } | undefined => {
    looks++;
    return looks < 3 ? undefined : { path: '/dev/null' };
  };
  assert.deepEqual(await waitForDisk(find, 'late', 60_000), { path: '/dev/null' });
  assert.equal(looks, 3);
});

void test('block-serials: stops waiting at the deadline, for a missing device node too, and when it is told', async () => {
  const never = (): undefined => undefined;
  await assert.rejects(waitForDisk(never, 'never', 0), { code: 'TIMEOUT', message: /'never'/ });
  const nodeless = (): { path: string } => ({ path: '/dev/nonexistent' });
  await assert.rejects(waitForDisk(nodeless, 'nodeless', 0), { code: 'TIMEOUT' });
  const stop = AbortSignal.abort();
  await assert.rejects(waitForDisk(never, 'stopped', 60_000, stop), { code: 'JOB_CANCELLED' });
});
