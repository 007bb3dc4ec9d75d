/** The contract of networks. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Bench, vm } from './bench.ts';

export function networkContract(bench: () => Bench): void {
  void describe('networks', () => {
    void it('an isolated network is there and active, however often it is asked for', async () => {
      const { driver } = bench();
      await driver.ensureIsolatedNetwork('isolated');
      await driver.ensureIsolatedNetwork('isolated');
      const found = (await driver.networks()).filter((network) => network.name === 'isolated');
      assert.deepEqual(found, [{ name: 'isolated', kind: 'network', active: true }]);
    });

    void it('NICs move to another network, while the VM runs and while it is off', async () => {
      const { driver } = bench();
      await driver.ensureIsolatedNetwork('isolated');
      await driver.ensureIsolatedNetwork('isolated-too');
      const nics = [
        { network: 'isolated', model: 'virtio', mac: '52:54:00:aa:bb:01' },
        { network: 'isolated', model: 'e1000e' },
      ] as const;
      await driver.defineVm(vm('moves', { nics: [...nics] }));
      await driver.moveNics('moves', 'isolated-too');
      await driver.startVm('moves');
      await driver.moveNics('moves', 'isolated');
      await assert.rejects(driver.moveNics('moves', 'nowhere'), { code: 'NETWORK_UNKNOWN' });
      await driver.destroyVm('moves');
      await assert.rejects(driver.moveNics('moves', 'isolated'), { code: 'NOT_FOUND' });
    });

    void it('the host says what it is and what room it has', async () => {
      const { driver } = bench();
      const facts = await driver.probe();
      assert.match(facts.libraryVersion, /^\d+\.\d+\.\d+$/);
      assert.ok(facts.accelerations.includes('tcg'));
      assert.ok(facts.firmwares.includes('bios'));
      assert.ok(facts.hostId.length > 0 && facts.hostname.length > 0 && facts.arch.length > 0);
      const pool = (await driver.pools()).find((one) => one.name === 'default');
      assert.ok(pool?.active);
      assert.ok(pool.availableBytes > 0 && pool.availableBytes <= pool.capacityBytes);
    });
  });
}
