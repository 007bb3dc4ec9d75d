/** The hypervisor contract, and what only libvirt can be asked, on a private libvirtd with real QEMU processes. */
import assert from 'node:assert/strict';
import { readdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '../../../appliance/hypervisor/select.ts';
import { run } from '../../lab/command.ts';
import { type LabLibvirtd, startLibvirtd } from '../../lab/libvirtd.ts';
import { type Lab, openLab } from '../../lab/namespace.ts';
import { type Bench, filled, JOB, MIB, qcow2, raw, readUntil, scsi, vm } from './bench.ts';
import { bootSector, writingBootSector } from './guests.ts';
import { nameContract } from './names.ts';
import { networkContract } from './networks.ts';
import { vmContract } from './vms.ts';
import { volumeContract } from './volumes.ts';

let network: Lab;
let daemon: LabLibvirtd;
let bench: Bench;

const virsh = (...args: string[]): Promise<string> => run(['virsh', '--quiet', '--connect', daemon.uri, ...args]);

void describe('the libvirt driver', () => {
  before(async () => {
    network = await openLab();
    daemon = await startLibvirtd({ netns: network.namespace });
    // Debian 13's libvirt lists no interfaces: there the bridge is known by this name.
    const driver = await connect(daemon.uri, [network.bridge]);
    bench = {
      driver,
      poolFolder: daemon.poolFolder,
      scratch: network.directory,
      close: async () => {
        await driver.close();
        await daemon.stop();
        await network.close();
      },
    };
  });
  after(() => bench.close());

  volumeContract(() => bench);
  nameContract(() => bench);
  vmContract(() => bench);
  networkContract(() => bench);

  void it('a VM that Rehost did not make is neither listed nor removed', async () => {
    const file = join(bench.scratch, 'foreign.xml');
    const xml = "<domain type='qemu'><name>foreign</name><memory>65536</memory><os><type>hvm</type></os></domain>";
    await writeFile(file, xml);
    await virsh('define', file);
    await virsh('start', 'foreign');
    await assert.rejects(bench.driver.destroyVm('foreign'), { code: 'HYPERVISOR_REFUSED' });
    assert.equal(await bench.driver.vmState('foreign'), 'running');
    assert.ok(!(await bench.driver.ownedVms()).some((one) => one.name === 'foreign'));
    await virsh('destroy', 'foreign');
    await virsh('undefine', 'foreign');
  });

  void it('QEMU gets the disk as it was described: raw stays raw, serial, sector size, discard', async () => {
    const { driver } = bench;
    const disguise = join(bench.scratch, 'qemu-disguise');
    await run(['qemu-img', 'create', '-q', '-f', 'qcow2', disguise, '1G']);
    await driver.createVolume(raw('disk.raw'), 2 * MIB);
    await driver.uploadVolume(raw('disk.raw'), disguise);
    await driver.defineVm(
      vm('describes', { disks: [scsi(raw('disk.raw'), 'serial-1', { logicalSectorBytes: 4096 })] }),
    );
    await driver.startVm('describes');
    const ask = async (command: object): Promise<unknown> =>
      (JSON.parse(await virsh('qemu-monitor-command', 'describes', JSON.stringify(command))) as { return: unknown })
        .return;
    const nodes = (await ask({ execute: 'query-named-block-nodes', arguments: { flat: true } })) as {
      drv: string;
      file: string;
      detect_zeroes: string;
      cache: { direct: boolean };
      image: { 'virtual-size': number };
    }[];
    const formats = nodes.filter((node) => node.file.endsWith('disk.raw'));
    // Newer libvirts leave the format layer of raw disks out.
    assert.ok(
      formats.length > 0 && formats.every((node) => ['file', 'raw'].includes(node.drv)),
      JSON.stringify(formats),
    );
    assert.ok(formats.every((node) => node.image['virtual-size'] === 2 * MIB && node.detect_zeroes === 'off'));
    assert.ok(
      formats.every((node) => node.cache.direct),
      'the pool takes direct I/O',
    );
    const tree = await virsh('qemu-monitor-command', 'describes', '--hmp', 'info qtree');
    for (const line of [/serial = "serial-1"/, /logical_block_size = 4096 /, /dev: scsi-hd/, /dev: virtio-scsi-pci/]) {
      assert.match(tree, line);
    }
    assert.doesNotMatch(tree, /virtio-balloon|usb-/);
    await driver.destroyVm('describes');
  });

  void it('a file system without direct I/O is used through the cache', async () => {
    const { driver } = bench;
    const folder = join(bench.scratch, 'ramfs');
    // ramfs has no O_DIRECT on any kernel. The daemon's mount namespace sees what is mounted inside it only.
    const shell = await daemon.enter(['sh', '-c', 'mkdir -p "$1" && mount -t ramfs ramfs "$1"', 'sh', folder]);
    assert.equal(shell, '');
    await virsh('pool-define-as', 'nodirect', 'dir', '--target', folder);
    await virsh('pool-start', 'nodirect');
    const volume = { ...raw('boot.raw'), pool: 'nodirect' };
    const file = join(bench.scratch, 'nodirect-boot');
    await writeFile(file, bootSector('through the cache\n'));
    await driver.createVolume(volume, MIB);
    await driver.uploadVolume(volume, file);
    await driver.createVolume({ ...volume, name: 'more.raw' }, MIB);
    await driver.defineVm(vm('nodirect', { disks: [scsi(volume, 'boot', { bootOrder: 1 })] }));
    const console = await driver.startVmWithConsole('nodirect');
    try {
      assert.equal(await readUntil(console, '\n'), 'through the cache\n');
    } finally {
      await console.close();
    }
    await driver.attachDisk('nodirect', scsi({ ...volume, name: 'more.raw' }, 'more'));
    assert.equal(await driver.cacheMode('nodirect'), 'writeback');
    assert.equal((await virsh('dumpxml', 'nodirect')).match(/cache='writeback'/g)?.length, 2);
    await driver.destroyVm('nodirect');
    await virsh('pool-destroy', 'nodirect');
    await virsh('pool-undefine', 'nodirect');
  });

  void it('a full pool is said to be full, and nothing is left of the volume', async () => {
    const { driver } = bench;
    const folder = join(bench.scratch, 'full');
    await daemon.enter(['sh', '-c', 'mkdir -p "$1" && mount -t tmpfs -o size=1m tmpfs "$1"', 'sh', folder]);
    await virsh('pool-define-as', 'full', 'dir', '--target', folder);
    await virsh('pool-start', 'full');
    const from = await filled(bench, 'too-large.raw', Buffer.alloc(4 * MIB, 'x'), 4 * MIB);
    await assert.rejects(driver.cloneVolume(from, { ...raw('copy.raw'), pool: 'full' }), { code: 'POOL_FULL' });
    assert.deepEqual(await driver.listVolumes('full'), []);
    await virsh('pool-destroy', 'full');
    await virsh('pool-undefine', 'full');
  });

  void it('a transfer VM is told of a full pool and goes on, a target VM is stopped until there is room', async () => {
    const { driver } = bench;
    const folder = join(bench.scratch, 'fills');
    await daemon.enter(['sh', '-c', 'mkdir -p "$1" && mount -t tmpfs -o size=2m tmpfs "$1"', 'sh', folder]);
    await virsh('pool-define-as', 'fills', 'dir', '--target', folder);
    await virsh('pool-start', 'fills');
    const volume = { ...raw('disk.raw'), pool: 'fills' };
    const file = join(bench.scratch, 'fills-boot');
    await writeFile(file, writingBootSector('refused\n'));
    for (const role of ['transfer', 'target'] as const) {
      await driver.createVolume(volume, 16 * MIB);
      await driver.uploadVolume(volume, file);
      const disk = scsi(volume, 'disk', { bootOrder: 1 });
      await driver.defineVm(vm('fills', { disks: [disk], owner: { jobId: JOB, role } }));
      const console = await driver.startVmWithConsole('fills');
      try {
        if (role === 'transfer') {
          assert.equal(await readUntil(console, '\n'), 'refused\n');
          assert.equal(await driver.vmState('fills'), 'running');
          await driver.createVolume({ ...volume, name: 'hot.raw' }, MIB);
          await driver.attachDisk('fills', scsi({ ...volume, name: 'hot.raw' }, 'hot'));
          const policies = (await virsh('dumpxml', 'fills')).match(/ error_policy='report' rerror_policy='report'/g);
          assert.equal(policies?.length, 2, 'also of the disk that came later');
        } else {
          for (const deadline = Date.now() + 60_000; (await driver.vmState('fills')) !== 'paused'; await sleep(100)) {
            assert.ok(Date.now() < deadline, 'it was not stopped');
          }
        }
      } finally {
        await console.close();
        await driver.destroyVm('fills');
        for (const name of await driver.listVolumes('fills')) await driver.deleteVolume('fills', name);
      }
    }
    await virsh('pool-destroy', 'fills');
    await virsh('pool-undefine', 'fills');
  });

  void it("the host's own bridges are listed, libvirt's are not, and a VM can be moved to one", async () => {
    const { driver } = bench;
    await driver.ensureIsolatedNetwork('isolated');
    const listed = await driver.networks();
    assert.deepEqual(
      listed.filter((one) => one.kind === 'bridge'),
      [{ name: network.bridge, kind: 'bridge', active: true }],
    );
    await driver.defineVm(
      vm('bridged', { nics: [{ network: 'isolated', model: 'virtio', mac: '52:54:00:aa:bb:02' }] }),
    );
    await driver.startVm('bridged');
    await driver.moveNics('bridged', network.bridge);
    for (const flags of [[], ['--inactive']]) {
      const xml = await virsh('dumpxml', 'bridged', ...flags);
      assert.match(
        xml,
        new RegExp(
          `<interface type='bridge'>\\s*<mac address='52:54:00:aa:bb:02'/>\\s*<source bridge='${network.bridge}'/>`,
        ),
      );
    }
    const ports = await network.exec(['ip', '-j', 'link', 'show', 'master', network.bridge]);
    assert.match(ports, /"ifname":"vnet\d+"/);
    await driver.destroyVm('bridged');
  });

  void it('a network of the same name that leads anywhere is not taken for isolated', async () => {
    const file = join(bench.scratch, 'open-network.xml');
    await writeFile(file, "<network><name>open</name><forward mode='bridge'/><bridge name='br-lan'/></network>");
    await virsh('net-define', file);
    await assert.rejects(bench.driver.ensureIsolatedNetwork('open'), { code: 'NAME_TAKEN' });
    await virsh('net-undefine', 'open');
  });

  void it('a daemon that was killed and came back is used again, and its VMs went on', async () => {
    const { driver } = bench;
    const disk = await filled(bench, 'survivor.raw', bootSector('still here\n'));
    await driver.createOverlay(qcow2('survivor.qcow2'), disk);
    await driver.defineVm(vm('survivor', { disks: [scsi(qcow2('survivor.qcow2'), 'd')] }));
    await driver.startVm('survivor');
    await daemon.killDaemon();
    assert.equal(await driver.vmState('survivor'), 'running');
    assert.equal((await driver.findVolume('default', 'survivor.qcow2'))?.format, 'qcow2');
    await driver.destroyVm('survivor');
    assert.equal(await driver.vmState('survivor'), 'absent');
  });

  void it('a daemon that dies during an upload makes it fail as unreachable, and the next call succeed', async () => {
    const { driver } = bench;
    const file = join(bench.scratch, 'long');
    await writeFile(file, '');
    await truncate(file, 2048 * MIB);
    const { path } = await driver.createVolume(raw('cut-short.raw'), 2048 * MIB);
    const upload = assert.rejects(driver.uploadVolume(raw('cut-short.raw'), file), { code: 'HYPERVISOR_UNREACHABLE' });
    for (const deadline = Date.now() + 60_000; (await stat(path)).blocks === 0; await sleep(5)) {
      assert.ok(Date.now() < deadline, 'nothing arrives');
    }
    await daemon.killDaemon();
    await upload;
    await driver.deleteVolume('default', 'cut-short.raw');
  });

  void it('nothing of a removed VM is left on the host', async () => {
    const { driver } = bench;
    await driver.defineVm(vm('clean', { firmware: 'uefi', memoryBytes: 256 * MIB }));
    await driver.startVm('clean');
    const nvram = '/var/lib/libvirt/qemu/nvram';
    assert.match(await daemon.enter(['ls', nvram]), /clean/);
    await driver.destroyVm('clean');
    assert.equal(await daemon.enter(['ls', nvram]), '');
  });
});

void it('a stopped daemon leaves neither processes nor files', async () => {
  const lab = await startLibvirtd();
  const driver = await connect(lab.uri);
  await driver.defineVm(vm('orphan'));
  await driver.startVm('orphan');
  const { pid } = await lab
    .enter(['sh', '-c', 'cat /run/libvirt/qemu/orphan.pid'])
    .then((text) => ({ pid: text.trim() }));
  assert.match(pid, /^\d+$/);
  await driver.close();
  await lab.stop();
  await assert.rejects(readdir(lab.poolFolder), { code: 'ENOENT' });
  const listed = await run(['ps', '-eo', 'args']);
  assert.ok(!listed.includes('guest=orphan'), listed);
  await assert.rejects(connect(lab.uri), { code: 'HYPERVISOR_UNREACHABLE' });
  await rm(lab.poolFolder, { recursive: true, force: true });
});
