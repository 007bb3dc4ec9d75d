/** Which acceleration a host gets is decided by booting something on it. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import {
  type AccelerationChoice,
  bootProbe,
  chooseAcceleration,
  PROBE_DEADLINE_MS,
} from '../../../appliance/hypervisor/acceleration.ts';
import { connect } from '../../../appliance/hypervisor/select.ts';
import { type LabLibvirtd, startLibvirtd } from '../../lab/libvirtd.ts';
import { type Bench, filled, raw } from './bench.ts';
import { speakingKernel } from './guests.ts';

let daemon: LabLibvirtd;
let bench: Bench;

/** A transfer image that says `text` as soon as it runs. */
const image = (name: string) => ({ kernel: raw(`${name}.raw`), initrd: raw('initrd.raw') });

/** Remembers in memory and counts the questions. */
function memory() {
  const kept = new Map<string, AccelerationChoice>();
  return {
    kept,
    load: async (hostId: string) => kept.get(hostId),
    save: async (hostId: string, choice: AccelerationChoice) => {
      kept.set(hostId, choice);
    },
  };
}

void describe('acceleration', () => {
  before(async () => {
    daemon = await startLibvirtd();
    const driver = await connect(daemon.uri);
    const scratch = await mkdtemp(join(tmpdir(), 'rehost-acceleration-'));
    bench = {
      driver,
      poolFolder: daemon.poolFolder,
      scratch,
      close: async () => {
        await driver.close();
        await daemon.stop();
        await rm(scratch, { recursive: true, force: true });
      },
    };
    await filled(bench, 'initrd.raw', Buffer.from('nothing'));
    await filled(bench, 'speaks.raw', speakingKernel('noise before it\r\nREHOST-PROBE-OK\r\n'));
    await filled(bench, 'silent.raw', speakingKernel('REHOST-PROBE-'));
  });
  after(() => bench.close());

  void it('an image that answers has booted', async () => {
    const result = await bootProbe(bench.driver, image('speaks'), 'tcg', PROBE_DEADLINE_MS);
    assert.equal(result.booted, true);
    assert.match(result.evidence, /answered after \d+\.\d s/);
    assert.deepEqual(await bench.driver.ownedVms(), []);
  });

  void it('an image that hangs has not, and its VM is removed', async () => {
    const result = await bootProbe(bench.driver, image('silent'), 'tcg', 3_000);
    assert.equal(result.booted, false);
    assert.match(result.evidence, /said nothing within \d+\.\d s/);
    assert.deepEqual(await bench.driver.ownedVms(), []);
  });

  void it('a missing image is an error and nothing is remembered', async () => {
    const remembered = memory();
    await assert.rejects(chooseAcceleration(bench.driver, 'auto', image('missing'), remembered), { code: 'NOT_FOUND' });
    assert.equal(remembered.kept.size, 0);
    assert.deepEqual(await bench.driver.ownedVms(), []);
  });

  void it('auto is settled once a host by what KVM really does, and says why', async () => {
    const remembered = memory();
    const first = await chooseAcceleration(bench.driver, 'auto', image('speaks'), remembered);
    const { hostId, hostname } = await bench.driver.probe();
    assert.deepEqual(remembered.kept.get(hostId), first);
    assert.ok(first.reason.includes(hostname) && !first.reason.includes('\n'), first.reason);
    // The same probe by hand is the judge: machines with and without a working KVM both run this test.
    const { booted } = await bootProbe(bench.driver, image('speaks'), 'kvm', PROBE_DEADLINE_MS);
    assert.equal(first.acceleration, booted ? 'kvm' : 'tcg');
    const second = await chooseAcceleration(bench.driver, 'auto', image('missing'), remembered);
    assert.deepEqual(second, first, 'remembered, not tried again');
    assert.deepEqual(await bench.driver.ownedVms(), []);
  });

  void it('auto under KVM that does not answer in time falls back to emulation', async () => {
    const choice = await chooseAcceleration(bench.driver, 'auto', image('silent'), memory(), 3_000);
    assert.equal(choice.acceleration, 'tcg');
    assert.match(choice.reason, /^KVM does not work on /);
  });

  void it('a wish is granted without a probe', async () => {
    for (const wish of ['kvm', 'tcg'] as const) {
      const choice = await chooseAcceleration(bench.driver, wish, image('missing'), memory());
      assert.equal(choice.acceleration, wish);
    }
  });
});
