import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '../../lab/command.ts';
import { debianRoot } from './debian-root.ts';
import { convert, mounted, smallDisk } from './guest-disks.ts';

const INTERFACES = 'auto lo\niface lo inet loopback\n\nauto enp0s3\niface enp0s3 inet static\n  address 10.77.0.9/24\n';

void test('convert: a Debian 12 with ifupdown, a gzip initramfs without virtio, and a hibernation device that is gone', async (t) => {
  const tar = await debianRoot({
    suite: 'bookworm',
    packages: [
      'linux-image-amd64',
      'initramfs-tools',
      'systemd-sysv',
      'udev',
      'ifupdown',
      'isc-dhcp-client',
      'e2fsprogs',
    ],
    initramfsSettings: { modules: 'MODULES=list', compress: 'COMPRESS=gzip', resume: 'RESUME=/dev/sdq7' },
  });
  const disk = await smallDisk(
    'ext4',
    {},
    {
      sizeBytes: 3 * 1024 ** 3,
      fill: async (root) => {
        await run(['tar', '-C', root, '-xf', tar], { timeoutMs: 600_000 });
        await writeFile(join(root, 'etc/fstab'), '# a comment\n/dev/sda / ext4 errors=remount-ro 0 1\n');
        await writeFile(join(root, 'etc/network/interfaces'), INTERFACES);
      },
    },
  );
  try {
    const options = { network: 'dhcp', nics: [{ name: 'eth0', mac: '52:54:00:00:00:09' }] } as const;
    const { guest, steps } = await convert(disk, { ...options, nics: [...options.nics] });
    assert.match(guest, /Debian GNU\/Linux 12/);
    const initramfs = steps.find((step) => step.step === 'initramfs-virtio');
    t.diagnostic(`initramfs built in ${initramfs?.seconds} s`);
    assert.equal(initramfs?.outcome, 'changed');
    assert.match(initramfs?.detail ?? '', /without .*virtio_blk.*waits for \/dev\/sdq7/);
    await mounted(disk.loop.device, async (point) => {
      assert.match(await readFile(join(point, 'etc/network/interfaces'), 'utf8'), /iface enp0s3 inet dhcp\n$/);
      assert.equal(await readFile(join(point, 'etc/network/interfaces.rehost-orig'), 'utf8'), INTERFACES);
      assert.match(
        await readFile(join(point, 'etc/systemd/network/10-rehost-enp0s3.link'), 'utf8'),
        /52:54:00:00:00:09/,
      );
      assert.equal(await readFile(join(point, 'etc/initramfs-tools/conf.d/resume'), 'utf8'), 'RESUME=none\n');
      // The guest's own tool agrees with what was read from the image here.
      const list = await run(['chroot', point, 'sh', '-c', 'lsinitramfs /boot/initrd.img-*']);
      for (const name of [
        'virtio_blk.ko',
        'virtio_scsi.ko',
        'virtio_net.ko',
        '10-rehost-enp0s3.link',
        'sbin/fsck.ext4',
      ]) {
        assert.ok(list.includes(name), `${name} is in the image`);
      }
    });
    const again = await convert(disk, { ...options, nics: [...options.nics] });
    assert.deepEqual(
      again.steps.filter((step) => step.outcome === 'changed'),
      [],
    );
  } finally {
    await disk.remove();
  }
});
