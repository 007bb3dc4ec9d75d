import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeviceNames, diskOf, isUnstableName } from '../../../receiver/convert/device-names.ts';
import { parseUdevFacts, partitionName } from '../../../receiver/convert/volumes.ts';
import { VOLUMES, volume } from './volumes.ts';

void test('device names resolve by every tag of fstab and of udev', () => {
  const root = VOLUMES[1];
  for (const spec of [
    'UUID=11111111-AAAA-4bbb-8ccc-000000000002',
    'UUID="11111111-aaaa-4bbb-8ccc-000000000002"',
    'LABEL=root\\040fs',
    '/dev/disk/by-label/root\\x20fs',
    'PARTUUID=AAAA-02',
    '/dev/disk/by-uuid/11111111-aaaa-4bbb-8ccc-000000000002',
    '/dev/sda2',
  ]) {
    assert.equal(new DeviceNames(VOLUMES, undefined).resolve(spec), root, spec);
  }
  for (const spec of ['LABEL=', 'UUID=', 'LABEL=nothing', '/dev/sda9', '/dev/mapper/vg-root', 'tmpfs', '']) {
    assert.equal(new DeviceNames(VOLUMES, undefined).resolve(spec), undefined, spec);
  }
});

void test('device names that two volumes share resolve to neither', () => {
  const twins = [volume('/dev/sda1', { label: 'x' }), volume('/dev/sda2', { label: 'x' })];
  assert.equal(new DeviceNames(twins, undefined).resolve('LABEL=x'), undefined);
});

void test('device names that change with the machine are told from those that do not', () => {
  const unstable = [
    '/dev/sda',
    '/dev/sdaa12',
    '/dev/hda1',
    '/dev/vdb2',
    '/dev/xvda1',
    '/dev/nvme0n1p3',
    '/dev/mmcblk0p1',
    '/dev/disk/by-id/x',
    '/dev/disk/by-path/x',
  ];
  for (const name of unstable) assert.ok(isUnstableName(name), name);
  const stable = [
    '/dev/mapper/vg-root',
    '/dev/md0',
    '/dev/sr0',
    '/dev/disk/by-uuid/x',
    'UUID=x',
    '/dev/zvol/x',
    '/dev/sda/x',
  ];
  for (const name of stable) assert.ok(!isUnstableName(name), name);
});

void test("device names follow from the root's, whatever the agent's kernel calls the disk", () => {
  for (const disk of ['nvme0n1', 'loop7', 'pmem0', 'dasda', 'sdb']) {
    const own = [2, 3].map((number) => volume(`/dev/${partitionName(disk, number)}`, {}));
    const [root] = own;
    assert.ok(root);
    const names = new DeviceNames(own, { volume: root, spec: '/dev/sda2' });
    assert.equal(names.resolve('/dev/sda2'), root, disk);
    assert.equal(names.resolve('/dev/sda3'), own[1], disk);
    assert.equal(names.resolve('/dev/sdz3'), undefined, disk);
  }
});

void test('device names of partitions follow the kernel', () => {
  assert.equal(partitionName('sda', 2), 'sda2');
  assert.equal(partitionName('nvme0n1', 2), 'nvme0n1p2');
  assert.equal(diskOf('/dev/sda12'), 'sda');
  assert.equal(diskOf('/dev/nvme0n1p2'), 'nvme0n1');
  assert.equal(diskOf('/dev/nvme0n1'), 'nvme0n1');
});

void test('device facts of blkid are decoded', () => {
  const facts = parseUdevFacts('ID_FS_TYPE=ext4\nID_FS_LABEL_ENC=a\\x20b\\x2fc\n\n=x\n');
  assert.deepEqual(
    [...facts],
    [
      ['ID_FS_TYPE', 'ext4'],
      ['ID_FS_LABEL_ENC', 'a b/c'],
    ],
  );
});
