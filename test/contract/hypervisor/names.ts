/** Names from outside never reach a path or a document. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { type Bench, MIB, raw, scsi, vm } from './bench.ts';

const HOSTILE = [
  '',
  '.',
  '..',
  '../escape',
  'a/b',
  '/etc/passwd',
  "a'b",
  'a"b',
  'a<b',
  'a&b',
  'a b',
  'a\nb',
  'a\0b',
  '-rf',
  '.hidden',
  '<name>x</name>',
  'ü',
  'x'.repeat(200),
];

export function nameContract(bench: () => Bench): void {
  void describe('names', () => {
    const refused = { code: 'NAME_INVALID' };
    for (const name of HOSTILE) {
      void it(`refuses ${JSON.stringify(name.slice(0, 20))} everywhere`, async () => {
        const { driver, poolFolder } = bench();
        const before = {
          files: await readdir(poolFolder),
          networks: await driver.networks(),
          vms: await driver.ownedVms(),
        };
        const there = { pool: name, name: 'x.raw', format: 'raw' } as const;
        await assert.rejects(driver.createVolume(raw(name), MIB), refused);
        await assert.rejects(driver.createVolume(there, MIB), refused);
        await assert.rejects(driver.findVolume('default', name), refused);
        await assert.rejects(driver.listVolumes(name), refused);
        await assert.rejects(driver.deleteVolume('default', name), refused);
        await assert.rejects(driver.cloneVolume(raw('x.raw'), raw(name)), refused);
        await assert.rejects(driver.createOverlay({ pool: 'default', name, format: 'qcow2' }, raw('x.raw')), refused);
        await assert.rejects(driver.uploadVolume(raw(name), '/dev/null'), refused);
        await assert.rejects(driver.defineVm(vm(name)), refused);
        await assert.rejects(driver.defineVm(vm('v', { nics: [{ network: name, model: 'virtio' }] })), refused);
        await assert.rejects(driver.defineVm(vm('v', { disks: [scsi(raw(name), 'd')] })), refused);
        await assert.rejects(driver.defineVm(vm('v', { owner: { jobId: name, role: 'transfer' } })), refused);
        await assert.rejects(driver.ensureIsolatedNetwork(name), refused);
        await assert.rejects(driver.moveNics('v', name), refused);
        for (const call of [
          'startVm',
          'startVmWithConsole',
          'destroyVm',
          'vmState',
          'screenshot',
          'console',
        ] as const) {
          await assert.rejects(driver[call](name), refused, call);
        }
        await assert.rejects(driver.shutdownVm(name, 1), refused);
        await assert.rejects(driver.detachDisk(name, 'd'), refused);
        await assert.rejects(driver.attachDisk(name, scsi(raw('x.raw'), 'd')), refused);
        const after = {
          files: await readdir(poolFolder),
          networks: await driver.networks(),
          vms: await driver.ownedVms(),
        };
        assert.deepEqual(after, before);
      });
    }

    void it('refuses serials, addresses and command lines that are none', async () => {
      const { driver } = bench();
      const invalid = { code: 'REQUEST_INVALID' };
      for (const serial of ['', 'a b', 'a"b', '<x/>', 'x'.repeat(37)]) {
        await assert.rejects(driver.defineVm(vm('v', { disks: [scsi(raw('x.raw'), serial)] })), invalid, serial);
      }
      await assert.rejects(
        driver.defineVm(vm('v', { disks: [scsi(raw('x.raw'), 'twice'), scsi(raw('y.raw'), 'twice')] })),
        invalid,
      );
      const nic = { network: 'n', model: 'virtio', mac: "52:54:00:00:00:01'/>" } as const;
      await assert.rejects(driver.defineVm(vm('v', { nics: [nic] })), invalid);
      const kernel = { kernel: raw('k.raw'), initrd: raw('i.raw'), commandLine: 'quiet\ninit=/bin/sh' };
      await assert.rejects(driver.defineVm(vm('v', { kernel })), invalid);
    });
  });
}
