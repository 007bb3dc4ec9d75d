/** The registry of hypervisors on a private libvirtd: views, reconnecting, and a proof of acceleration that is remembered. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { HypervisorConfig } from '../../../appliance/config.ts';
import { connect } from '../../../appliance/hypervisor/select.ts';
import { Hypervisors } from '../../../appliance/hypervisors.ts';
import { Store } from '../../../appliance/store/store.ts';
import { type Bench, filled, raw } from '../../contract/hypervisor/bench.ts';
import { speakingKernel } from '../../contract/hypervisor/guests.ts';
import { type LabLibvirtd, startLibvirtd } from '../../lab/libvirtd.ts';
import { atEnd, temporaryFolder } from '../../lab/orchestrator/folder.ts';

type Context = Parameters<typeof temporaryFolder>[0];

let daemon: LabLibvirtd;

const config = (changes: Partial<HypervisorConfig> = {}): HypervisorConfig => ({
  name: 'lab',
  uri: daemon.uri,
  pool: 'default',
  network: 'default',
  ...changes,
});

async function registry(t: Context, configs: HypervisorConfig[], folder?: string) {
  const store = await Store.open(folder ?? (await temporaryFolder(t)));
  const hypervisors = new Hypervisors(configs, connect, store);
  const close = async (): Promise<void> => {
    await hypervisors.close();
    await store.close();
  };
  atEnd(t, close);
  return { hypervisors, store, close };
}

void describe('the registry of hypervisors', () => {
  before(async () => {
    daemon = await startLibvirtd();
  });
  after(() => daemon.stop());

  void it('shows what is there, and beside it why another cannot be reached', async (t) => {
    const gone = config({ name: 'gone', uri: 'qemu+unix:///system?socket=/nowhere/libvirt-sock' });
    const { hypervisors } = await registry(t, [config(), gone]);
    const [lab, other] = await hypervisors.views();
    assert.deepEqual([lab?.reachable, lab?.type, lab?.acceleration, lab?.error], [true, 'QEMU', null, null]);
    assert.ok(lab?.pools.some((pool) => pool.name === 'default' && pool.active && pool.availableBytes > 0));
    assert.equal(other?.reachable, false);
    assert.match(other?.error ?? '', /nowhere/);
  });

  void it('the first is the default, an unknown one is refused', async (t) => {
    const { hypervisors } = await registry(t, [config({ transferNetwork: 'management' }), config({ name: 'second' })]);
    const handle = await hypervisors.get(undefined);
    assert.deepEqual([handle.name, handle.transferNetwork, handle.network], ['lab', 'management', 'default']);
    const { transferNetwork, isolatedNetwork, acceleration } = await hypervisors.get('second');
    assert.deepEqual([transferNetwork, isolatedNetwork, acceleration], ['default', 'rehost-isolated', 'auto']);
    await assert.rejects(hypervisors.get('third'), { code: 'HYPERVISOR_UNKNOWN' });
  });

  void it('connects once for many who ask, again after a failure, and outlives a killed daemon', async (t) => {
    let connections = 0;
    const store = await Store.open(await temporaryFolder(t));
    const counted = (uri: string) => {
      connections++;
      // The first attempt finds nobody.
      return connect(connections === 1 ? 'qemu+unix:///system?socket=/nowhere/libvirt-sock' : uri);
    };
    const hypervisors = new Hypervisors([config()], counted, store);
    atEnd(t, async () => {
      await hypervisors.close();
      await store.close();
    });
    const many = () => Promise.allSettled(Array.from({ length: 5 }, () => hypervisors.get('lab')));
    for (const result of await many()) assert.equal(result.status, 'rejected');
    assert.equal(connections, 1);
    const drivers = (await many()).map((result) => (result.status === 'fulfilled' ? result.value.driver : undefined));
    assert.equal(new Set(drivers).size, 1);
    assert.equal(connections, 2);
    await daemon.killDaemon();
    const handle = await hypervisors.get('lab');
    assert.ok((await handle.driver.pools()).length > 0);
  });

  void it('auto is proven once, and remembered over a restart; a fixed choice is taken as it is', async (t) => {
    const folder = await temporaryFolder(t);
    const first = await registry(t, [config(), config({ name: 'fixed', acceleration: 'tcg' })], folder);
    const handle = await first.hypervisors.get('lab');
    const bench: Bench = {
      driver: handle.driver,
      poolFolder: daemon.poolFolder,
      scratch: folder,
      close: async () => {},
    };
    await filled(bench, 'initrd.raw', Buffer.from('nothing'));
    await filled(bench, 'speaks.raw', speakingKernel('REHOST-PROBE-OK\r\n'));
    let asked = 0;
    const image = async () => {
      asked++;
      return { kernel: raw('speaks.raw'), initrd: raw('initrd.raw') };
    };
    const [one, two] = await Promise.all([
      first.hypervisors.acceleration(handle, image),
      first.hypervisors.acceleration(handle, image),
    ]);
    assert.deepEqual(one, two);
    assert.equal(asked, 1);
    const fixed = await first.hypervisors.acceleration(await first.hypervisors.get('fixed'), image);
    assert.equal(fixed.acceleration, 'tcg');
    const { accelerations } = await handle.driver.probe();
    // Only a host whose libvirt offers KVM needs a proof.
    assert.equal(first.store.data.probes.length, accelerations.includes('kvm') ? 1 : 0);
    await first.close();

    const second = await registry(t, [config()], folder);
    const again = await second.hypervisors.get('lab');
    const missing = async () => ({ kernel: raw('missing.raw'), initrd: raw('missing.raw') });
    assert.deepEqual(await second.hypervisors.acceleration(again, missing), one);
    if (accelerations.includes('kvm')) {
      const [view] = await second.hypervisors.views();
      assert.deepEqual([view?.acceleration, view?.accelerationReason], [one.acceleration, one.reason]);
    }
  });
});
