import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RehostError, toWire } from '../../../appliance/api/errors.ts';
import { DiskCopy } from '../../../receiver/copy/disk-copy.ts';
import { Pace } from '../../../receiver/copy/pace.ts';
import { SessionFlags } from '../../../receiver/copy/shared.ts';

void test('a disk whose target fails twice is given up; one without room never is', async () => {
  const flags = new SessionFlags();
  const failed: string[] = [];
  const stumbled: string[] = [];
  const target = { kind: 'null', sizeBytes: 4096 } as const;
  const tending = { disk: 0, flags: flags.shared, pace: new Pace().shared, journal: undefined, flushEveryMs: 1000 };
  const disk = new DiskCopy({ disk: 'sda', target, sizeBytes: 4096 }, 4096, undefined, tending, {
    failed: ({ code }) => failed.push(code),
    stumbled: (message) => stumbled.push(message),
    tended: () => {},
  });
  try {
    const full = toWire(new RehostError('POOL_FULL', 'full'));
    const broken = toWire(new RehostError('TARGET_WRITE_FAILED', 'broken'));
    for (let i = 0; i < 5; i++) disk.writeFailed(full, disk.writeFailures);
    disk.writeFailed(broken, disk.writeFailures);
    // Ordered before the failure that is known already.
    disk.writeFailed(broken, 0);
    assert.deepEqual(failed, []);
    disk.writeFailed(broken, disk.writeFailures);
    assert.deepEqual(failed, ['TARGET_WRITE_FAILED']);
    assert.equal(stumbled.length, 8);
  } finally {
    flags.stop();
    await disk.ended();
  }
});
