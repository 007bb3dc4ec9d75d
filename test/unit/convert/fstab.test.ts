import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeviceNames } from '../../../receiver/convert/device-names.ts';
import { planFstab, planResume } from '../../../receiver/convert/linux/fstab-uuids.ts';
import { ROOT, VOLUMES, volume } from './volumes.ts';

const NAMES = new DeviceNames(VOLUMES, undefined);

void test('fstab-uuids replaces device names and keeps every other byte', () => {
  const before = [
    '# /etc/fstab: static file system information.',
    '/dev/sda2\t/   ext4\terrors=remount-ro 0  1  ',
    '  /dev/sda3 none swap sw 0 0',
    '/dev/sda1 /boot/efi vfat umask=0077 0 1',
    'UUID=abc /data xfs defaults 0 2',
    '/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0',
    'tmpfs /tmp tmpfs size=10% 0 0',
    '',
  ];
  const plan = planFstab(before.join('\n'), VOLUMES, ROOT);
  assert.deepEqual(plan.text.split('\n'), [
    before[0],
    'UUID=11111111-aaaa-4bbb-8ccc-000000000002\t/   ext4\terrors=remount-ro 0  1  ',
    '  UUID=11111111-aaaa-4bbb-8ccc-000000000003 none swap sw 0 0',
    'UUID=ABCD-0001 /boot/efi vfat umask=0077 0 1',
    ...before.slice(4),
  ]);
  assert.equal(planFstab(plan.text, VOLUMES, ROOT).text, plan.text, 'a second time changes nothing');
});

void test('fstab-uuids understands by-id, by-path and names of another bus when there is one disk', () => {
  const names = [
    '/dev/disk/by-id/ata-DISK_123-part2',
    '/dev/disk/by-path/pci-0000:00:1f.2-ata-1-part2',
    '/dev/hda2',
    '/dev/vda2',
    '/dev/nvme0n1p2',
  ];
  for (const name of names) {
    const plan = planFstab(`${name} / ext4 defaults 0 1\n`, VOLUMES, ROOT);
    assert.equal(plan.text, 'UUID=11111111-aaaa-4bbb-8ccc-000000000002 / ext4 defaults 0 1\n', name);
  }
});

void test('fstab-uuids learns from the root what the guest calls its disks', () => {
  const old = planFstab(
    '/dev/hda2 / ext4 defaults 0 1\n/dev/hda3 none swap sw 0 0\n/dev/hdb1 /x ext4 defaults 0 2\n',
    VOLUMES,
    ROOT,
  );
  assert.equal(
    old.text,
    `UUID=${ROOT.uuid} / ext4 defaults 0 1\nUUID=${VOLUMES[2]?.uuid} none swap sw 0 0\n/dev/hdb1 /x ext4 defaults,nofail 0 2\n`,
  );
  // The guest calls its root disk sdb, the agent sda: the guest's sda is another disk.
  const two = [...VOLUMES, volume('/dev/sdb1', { uuid: 'data' })];
  const swapped = planFstab('/dev/sdb2 / ext4 defaults 0 1\n/dev/sda1 /data ext4 defaults 0 2\n', two, ROOT);
  assert.equal(swapped.text, `UUID=${ROOT.uuid} / ext4 defaults 0 1\n/dev/sda1 /data ext4 defaults 0 2\n`);
});

void test('fstab-uuids never takes another disk for the copied one', () => {
  const text = `UUID=${ROOT.uuid} / ext4 defaults 0 1\n/dev/disk/by-id/usb-backup-part2 /backup ext4 defaults 0 2\n`;
  assert.equal(planFstab(text, VOLUMES, ROOT).text, text);
});

void test('fstab-uuids learns nothing from a root that is not the one that was found', () => {
  const text = '/dev/hda3 / ext4 defaults 0 1\n/dev/hda2 /old ext4 defaults,nofail 0 2\n';
  assert.equal(planFstab(text, VOLUMES, ROOT).text, text);
});

void test('fstab-uuids takes a swap and an ESP by id for those of the only disk', () => {
  const text =
    '/dev/disk/by-id/ata-X-part3 none swap sw 0 0\n/dev/disk/by-path/pci-1-part1 /boot/efi vfat umask=0077 0 1\n';
  assert.equal(
    planFstab(text, VOLUMES, ROOT).text,
    `UUID=${VOLUMES[2]?.uuid} none swap sw 0 0\nUUID=ABCD-0001 /boot/efi vfat umask=0077 0 1\n`,
  );
});

void test('fstab-uuids does not guess between several disks', () => {
  const two = [...VOLUMES, volume('/dev/sdb2', { uuid: 'other' })];
  const text = '/dev/disk/by-id/ata-DISK_123-part2 /data ext4 defaults 0 1\n';
  const plan = planFstab(text, two, ROOT);
  assert.equal(plan.text, text);
  assert.match(plan.notes.join(), /not certain/);
});

void test('fstab-uuids leaves an entry whose file system contradicts the volume', () => {
  const text = '/dev/sda3 /data ext4 defaults 0 2\n';
  assert.equal(planFstab(text, VOLUMES, ROOT).text, text);
});

void test('fstab-uuids lets the boot go on without disks that were not copied', () => {
  const plan = planFstab('/dev/sdb1 /backup ext4 defaults 0 2\n/dev/sdc1 /x ext4 noauto 0 0\n', VOLUMES, ROOT);
  assert.equal(plan.text, '/dev/sdb1 /backup ext4 defaults,nofail 0 2\n/dev/sdc1 /x ext4 noauto 0 0\n');
  assert.match(plan.notes.join(), /was not copied/);
});

void test('fstab-uuids names a volume by PARTUUID when its UUID is not unique', () => {
  const twins = [
    volume('/dev/sda1', { uuid: 'same', partUuid: 'p1' }),
    volume('/dev/sda2', { uuid: 'same', partUuid: 'p2' }),
  ];
  assert.equal(
    planFstab('/dev/sda2 / ext4 defaults 0 1', twins, twins[1] ?? ROOT).text,
    'PARTUUID=p2 / ext4 defaults 0 1',
  );
});

void test('fstab-uuids sets the hibernation device by UUID, or to none when it is gone', () => {
  assert.equal(
    planResume('# x\nRESUME=/dev/sda3\n', VOLUMES, NAMES),
    '# x\nRESUME=UUID=11111111-aaaa-4bbb-8ccc-000000000003\n',
  );
  assert.equal(planResume('RESUME="/dev/sdq9"\n', VOLUMES, NAMES), 'RESUME=none\n');
  for (const text of ['RESUME=none\n', 'RESUME=auto\n', 'RESUME=UUID=x\n', 'RESUME=/dev/mapper/vg-swap\n']) {
    assert.equal(planResume(text, VOLUMES, NAMES), text);
  }
});
