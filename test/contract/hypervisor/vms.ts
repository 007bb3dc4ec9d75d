/** The contract of virtual machines: life, console, screen, disks that come and go. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PNG } from 'pngjs';
import { ownedByJob } from '../../../appliance/hypervisor/owned.ts';
import { type Bench, filled, JOB, MIB, qcow2, raw, readUntil, scsi, vm } from './bench.ts';
import { bootSector, speakingKernel } from './guests.ts';

/** How long a text screen may take to appear, ms. */
const SCREEN_DEADLINE_MS = 60_000;

export function vmContract(bench: () => Bench): void {
  void describe('virtual machines', () => {
    after(async () => {
      const { driver } = bench();
      for (const { name } of await driver.ownedVms()) await driver.destroyVm(name);
    });

    void it('is absent, shut off, running, absent', async () => {
      const { driver } = bench();
      assert.equal(await driver.vmState('life'), 'absent');
      await driver.defineVm(vm('life'));
      assert.equal(await driver.vmState('life'), 'shut-off');
      await assert.rejects(driver.defineVm(vm('life')), { code: 'NAME_TAKEN' });
      await driver.startVm('life');
      assert.equal(await driver.vmState('life'), 'running');
      await driver.startVm('life');
      await driver.destroyVm('life');
      assert.equal(await driver.vmState('life'), 'absent');
      await driver.destroyVm('life');
      await assert.rejects(driver.startVm('life'), { code: 'NOT_FOUND' });
    });

    void it('boots a disk, and its console has every byte from the first on, then ends', async () => {
      const { driver } = bench();
      const text = 'The first sector speaks.\r\n';
      const disk = await filled(bench(), 'boot.raw', bootSector(text));
      await driver.defineVm(vm('boots', { disks: [scsi(disk, 'boot', { bootOrder: 1 })] }));
      const console = await driver.startVmWithConsole('boots');
      try {
        assert.equal(await readUntil(console, '\n'), text);
        await driver.destroyVm('boots');
        assert.equal(await readUntil(console, 'never said'), '');
      } finally {
        await console.close();
      }
      assert.equal(await console.read(), undefined);
    });

    void it('boots a disk of each bus and firmware path through an overlay', async () => {
      const { driver } = bench();
      const disk = await filled(bench(), 'bus.raw', bootSector('overlay boots\n'));
      for (const bus of ['virtio', 'sata'] as const) {
        const overlay = await driver.createOverlay(qcow2(`${bus}.qcow2`), disk);
        await driver.defineVm(vm(bus, { disks: [{ volume: overlay, serial: `s-${bus}`, bus, bootOrder: 1 }] }));
        const console = await driver.startVmWithConsole(bus);
        try {
          assert.equal(await readUntil(console, '\n'), 'overlay boots\n');
        } finally {
          await console.close();
          await driver.destroyVm(bus);
        }
      }
    });

    void it('boots a kernel out of volumes', async () => {
      const { driver } = bench();
      const kernel = await filled(bench(), 'kernel.raw', speakingKernel('a kernel speaks\n'));
      const initrd = await filled(bench(), 'initrd.raw', Buffer.from('nothing'));
      await driver.defineVm(vm('kernel', { kernel: { kernel, initrd, commandLine: 'a="1" <b> &c' } }));
      const console = await driver.startVmWithConsole('kernel');
      try {
        assert.equal(await readUntil(console, '\n'), 'a kernel speaks\n');
      } finally {
        await console.close();
        await driver.destroyVm('kernel');
      }
    });

    void it('starts under UEFI and leaves no variables behind', async () => {
      const { driver } = bench();
      assert.ok((await driver.probe()).firmwares.includes('uefi'), 'the hypervisor needs OVMF: apt-get install ovmf');
      for (const round of [1, 2]) {
        await driver.defineVm(vm('uefi', { firmware: 'uefi', memoryBytes: 256 * MIB }));
        await driver.startVm('uefi');
        assert.equal(await driver.vmState('uefi'), 'running', `round ${round}`);
        await driver.destroyVm('uefi');
      }
    });

    void it('what is missing is named, and nothing is defined', async () => {
      const { driver } = bench();
      await assert.rejects(driver.defineVm(vm('lacks', { disks: [scsi(raw('no.raw'), 'd')] })), { code: 'NOT_FOUND' });
      await assert.rejects(driver.defineVm(vm('lacks', { nics: [{ network: 'no-net', model: 'virtio' }] })), {
        code: 'NETWORK_UNKNOWN',
      });
      assert.equal(await driver.vmState('lacks'), 'absent');
    });

    void it('a shutdown says whether the guest obeyed', async () => {
      const { driver } = bench();
      await driver.defineVm(vm('deaf'));
      assert.equal(await driver.shutdownVm('deaf', 1000), true, 'it is off already');
      await driver.startVm('deaf');
      assert.equal(await driver.shutdownVm('deaf', 1000), false, 'the BIOS hears no power button');
      assert.equal(await driver.vmState('deaf'), 'running');
      await driver.destroyVm('deaf');
    });

    void it('a suspended guest stands still and goes on where it was', async () => {
      const { driver } = bench();
      await driver.defineVm(vm('rest'));
      await assert.rejects(driver.suspendVm('rest'), { code: 'HYPERVISOR_REFUSED' });
      await assert.rejects(driver.resumeVm('rest'), { code: 'HYPERVISOR_REFUSED' });
      await driver.startVm('rest');
      for (const round of [1, 2]) {
        await driver.suspendVm('rest');
        await driver.suspendVm('rest');
        assert.equal(await driver.vmState('rest'), 'paused', `round ${round}`);
        await driver.resumeVm('rest');
        await driver.resumeVm('rest');
        assert.equal(await driver.vmState('rest'), 'running', `round ${round}`);
      }
      await driver.suspendVm('rest');
      await driver.destroyVm('rest');
      await assert.rejects(driver.suspendVm('rest'), { code: 'NOT_FOUND' });
      await assert.rejects(driver.resumeVm('rest'), { code: 'NOT_FOUND' });
    });

    void it('a volume below the overlay of a running VM can be read by another VM', async () => {
      const { driver } = bench();
      const disk = await filled(bench(), 'shared-below.raw', bootSector('read beside its user\r\n'));
      const overlay = await driver.createOverlay(qcow2('shared-above.qcow2'), disk);
      await driver.defineVm(vm('user', { disks: [{ volume: overlay, serial: 'above', bus: 'virtio', bootOrder: 1 }] }));
      await driver.startVm('user');
      await driver.defineVm(vm('reader', { disks: [scsi(disk, 'below', { readonly: true, bootOrder: 1 })] }));
      const console = await driver.startVmWithConsole('reader');
      try {
        assert.equal(await readUntil(console, '\n'), 'read beside its user\r\n');
      } finally {
        await console.close();
      }
      assert.equal(await driver.vmState('user'), 'running');
      await driver.destroyVm('reader');
      // The user keeps its volume: it can be started again.
      await driver.destroyVm('user');
      await driver.defineVm(vm('user', { disks: [{ volume: overlay, serial: 'above', bus: 'virtio', bootOrder: 1 }] }));
      const again = await driver.startVmWithConsole('user');
      try {
        assert.equal(await readUntil(again, '\n'), 'read beside its user\r\n');
      } finally {
        await again.close();
        await driver.destroyVm('user');
      }
    });

    void it('the screen is a picture with text on it', async () => {
      const { driver } = bench();
      await driver.defineVm(vm('screen', { video: true }));
      await driver.startVm('screen');
      const deadline = Date.now() + SCREEN_DEADLINE_MS;
      for (let lit = 0; lit === 0; ) {
        assert.ok(Date.now() < deadline, 'the screen stayed black');
        const { width, height, data } = PNG.sync.read(await driver.screenshot('screen'));
        assert.ok(width >= 320 && height >= 200, `${width} x ${height}`);
        lit = data.filter((byte, index) => index % 4 === 0 && byte > 128).length;
        if (lit === 0) await sleep(250);
      }
      await driver.destroyVm('screen');
      await driver.defineVm(vm('blind'));
      await driver.startVm('blind');
      await assert.rejects(driver.screenshot('blind'), { code: 'HYPERVISOR_REFUSED' });
      await driver.destroyVm('blind');
    });

    void it('disks come and go by serial, while it runs and while it is off', async () => {
      const { driver } = bench();
      await driver.createVolume(raw('hot-a.raw'), MIB);
      await driver.createVolume(raw('hot-b.raw'), MIB);
      await driver.defineVm(vm('plug', { disks: [scsi(raw('hot-a.raw'), 'first')] }));
      for (const running of [true, false]) {
        if (running) await driver.startVm('plug');
        await driver.attachDisk('plug', scsi(raw('hot-b.raw'), 'second', { logicalSectorBytes: 4096 }));
        await assert.rejects(driver.attachDisk('plug', scsi(raw('hot-b.raw'), 'second')), { code: 'NAME_TAKEN' });
        assert.equal(await driver.cacheMode('plug'), 'none', 'the pool takes direct I/O');
        await driver.detachDisk('plug', 'second');
        await driver.detachDisk('plug', 'second');
        await driver.detachDisk('plug', 'first');
        await driver.attachDisk('plug', scsi(raw('hot-a.raw'), 'first'));
        await assert.rejects(driver.attachDisk('plug', scsi(raw('missing.raw'), 'third')), { code: 'NOT_FOUND' });
        if (!running) continue;
        await driver.destroyVm('plug');
        await driver.defineVm(vm('plug', { disks: [scsi(raw('hot-a.raw'), 'first')] }));
      }
      await driver.destroyVm('plug');
      await assert.rejects(driver.attachDisk('plug', scsi(raw('hot-a.raw'), 'first')), { code: 'NOT_FOUND' });
      await assert.rejects(driver.detachDisk('plug', 'first'), { code: 'NOT_FOUND' });
      await assert.rejects(driver.cacheMode('plug'), { code: 'NOT_FOUND' });
    });

    void it('more disks than a bus has ports still start', async () => {
      const { driver } = bench();
      const disks = [];
      for (let index = 0; index < 17; index++) {
        await driver.createVolume(raw(`many-${index}.raw`), MIB);
        disks.push(scsi(raw(`many-${index}.raw`), `many-${index}`, index < 9 ? {} : { bus: 'sata' }));
      }
      await driver.defineVm(vm('many', { disks }));
      await driver.startVm('many');
      await driver.destroyVm('many');
    });

    void it('what belongs to a job is found by its metadata and its names', async () => {
      const { driver } = bench();
      const other = { jobId: 'contract2', role: 'target' } as const;
      await driver.defineVm(vm('mine'));
      await driver.defineVm(vm('theirs', { owner: other }));
      await driver.createVolume(raw(`rehost-${JOB}-sda.raw`), MIB);
      await driver.createVolume(raw('rehost-contract2-sda.raw'), MIB);
      const owned = await driver.ownedVms();
      assert.deepEqual(
        owned.filter((one) => ['mine', 'theirs'].includes(one.name)).sort((a, b) => a.name.localeCompare(b.name)),
        [
          { name: 'mine', owner: { jobId: JOB, role: 'transfer' } },
          { name: 'theirs', owner: other },
        ],
      );
      assert.deepEqual(await ownedByJob(driver, 'contract2'), {
        vms: [{ name: 'theirs', owner: other }],
        volumes: [{ pool: 'default', name: 'rehost-contract2-sda.raw' }],
      });
      await driver.destroyVm('mine');
      await driver.destroyVm('theirs');
    });
  });
}
