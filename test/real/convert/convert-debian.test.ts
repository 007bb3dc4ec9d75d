import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { StepReport } from '../../../appliance/api/control.ts';
import { openGuestFile } from '../../../receiver/convert/guest-files.ts';
import { readInitramfs } from '../../../receiver/convert/linux/initramfs-image.ts';
import { REQUIRED_MODULES } from '../../../receiver/convert/linux/initramfs-virtio.ts';
import { run } from '../../lab/command.ts';
import { contentHash, convert, leftMounts, mounted, sourceCopy } from './guest-disks.ts';

const NAMES = [
  'check-before',
  'find-guest',
  'fstab-uuids',
  'nic-names',
  'network-address',
  'initramfs-virtio',
  'grub-config',
  'efi-fallback',
  'serial-getty',
  'check-after',
];

function outcomes(steps: readonly StepReport[]): Record<string, string> {
  return Object.fromEntries(steps.map((step) => [step.step, step.outcome]));
}

async function modulesOf(root: string): Promise<Set<string>> {
  const name = (await readdir(join(root, 'boot'))).find((each) => each.startsWith('initrd.img-'));
  const file = await openGuestFile(root, `/boot/${name}`);
  assert.ok(file, 'the guest has an initramfs');
  try {
    return (await readInitramfs(file)).modules;
  } finally {
    await file.close();
  }
}

void test('convert: a UEFI Debian without virtio gets its drivers, its fallback path and DHCP', async (t) => {
  const disk = await sourceCopy('uefi');
  try {
    const [esp, root] = [disk.loop.partition(1), disk.loop.partition(2)];
    const before = await mounted(root, modulesOf);
    assert.ok(!before.has('virtio_blk'), 'the source lacks virtio_blk, or this test proves nothing');

    const seen: StepReport[] = [];
    const log: string[] = [];
    const result = await convert(disk, { firmware: 'uefi', network: 'dhcp' }, { steps: seen, log });
    assert.match(result.guest, /^Debian GNU\/Linux/);
    assert.deepEqual(
      result.steps.map((step) => step.step),
      NAMES,
    );
    assert.deepEqual(seen, result.steps, 'each step was reported as it ended');
    assert.deepEqual(outcomes(result.steps), {
      'check-before': 'unchanged',
      'find-guest': 'unchanged',
      'fstab-uuids': 'changed',
      'nic-names': 'changed',
      'network-address': 'changed',
      'initramfs-virtio': 'changed',
      'grub-config': 'changed',
      'efi-fallback': 'changed',
      'serial-getty': 'not-applicable',
      'check-after': 'unchanged',
    });
    assert.deepEqual(await leftMounts(disk), []);
    t.diagnostic(`initramfs built in ${result.steps.find((step) => step.step === 'initramfs-virtio')?.seconds} s`);
    assert.ok(
      !log.some((line) => /^update-initramfs: [WE]:/.test(line)),
      log.filter((line) => /: [WE]:/.test(line)).join('\n'),
    );

    await mounted(root, async (point) => {
      const modules = await modulesOf(point);
      for (const name of REQUIRED_MODULES.filter((each) => each !== 'virtio_pci')) assert.ok(modules.has(name), name);
      const fstab = await readFile(join(point, 'etc/fstab'), 'utf8');
      assert.equal(fstab.match(/^UUID=/gm)?.length, 3);
      assert.doesNotMatch(fstab, /\/dev\/sd/);
      assert.match(await readFile(join(point, 'etc/fstab.rehost-orig'), 'utf8'), /^\/dev\/sda2 \/ /);
      const link = await readFile(join(point, `etc/systemd/network/10-rehost-${disk.source.nicName}.link`), 'utf8');
      assert.match(link, /PermanentMACAddress=52:54:00:db:00:60\n/);
      const unit = await readFile(join(point, 'etc/systemd/network/10-lan.network'), 'utf8');
      assert.match(unit, /DHCP=yes/);
      assert.doesNotMatch(unit, /Address=/);
      assert.match(await readFile(join(point, 'etc/systemd/network.rehost-orig/10-lan.network'), 'utf8'), /Address=/);
      assert.match(await readFile(join(point, 'boot/grub/grub.cfg'), 'utf8'), /console=ttyS0,115200 console=tty0/);
    });
    await mounted(esp, async (point) => {
      const fallback = await readFile(join(point, 'EFI/BOOT/BOOTX64.EFI'));
      assert.ok(fallback.equals(await readFile(join(point, 'EFI/debian/grubx64.efi'))), 'the vendor folder stays');
    });

    const espHash = await contentHash(esp);
    const again = await convert(disk, { firmware: 'uefi', network: 'dhcp' });
    assert.deepEqual(
      again.steps.filter((step) => step.outcome === 'changed'),
      [],
    );
    assert.equal(await contentHash(esp), espHash, 'a second conversion writes nothing to the ESP');
  } finally {
    await disk.remove();
  }
});

void test('convert: a BIOS Debian that names its root by device is converted without a new initramfs', async () => {
  const disk = await sourceCopy('bios');
  try {
    const root = disk.loop.partition(2);
    const image = async (point: string): Promise<string> =>
      (await run(['sh', '-c', 'sha256sum "$1"/boot/initrd.img-*', 'sh', point])).split(' ')[0] ?? '';
    const before = await mounted(root, image);
    const { steps } = await convert(disk);
    assert.equal(outcomes(steps)['initramfs-virtio'], 'unchanged');
    assert.equal(outcomes(steps)['network-address'], 'not-applicable');
    await mounted(root, async (point) => {
      assert.equal(await image(point), before);
      const uuid = (await run(['blkid', '-p', '-o', 'value', '-s', 'UUID', root])).trim();
      const grub = await readFile(join(point, 'boot/grub/grub.cfg'), 'utf8');
      assert.ok(grub.includes(` root=UUID=${uuid} `));
      assert.doesNotMatch(grub, /root=\/dev\//);
      assert.match(await readFile(join(point, 'etc/systemd/network/10-lan.network'), 'utf8'), /Address=10\.77\.0\.60/);
    });
    const again = await convert(disk);
    assert.deepEqual(
      again.steps.filter((step) => step.outcome === 'changed'),
      [],
    );
  } finally {
    await disk.remove();
  }
});
