import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { blockDisks } from '../../../agent/inventory/block-devices.ts';
import { recordedTree } from './recorded/tree.ts';

const MIB = 1024 * 1024;

void test('block-devices: an IDE disk with its partitions, a stick, no optical drive', (t) => {
  const disks = blockDisks(recordedTree(t, 'pc'));
  assert.deepEqual(disks, [
    {
      name: 'sda',
      sizeBytes: 64 * MIB,
      logicalSectorBytes: 512,
      model: 'ACME HDD',
      serial: 'IDE-SERIAL-1',
      bus: 'ata',
      rotational: true,
      removable: false,
      partitions: [
        { name: 'sda1', number: 1, startBytes: MIB, sizeBytes: 20 * MIB },
        { name: 'sda2', number: 2, startBytes: 21 * MIB, sizeBytes: 10 * MIB },
        { name: 'sda3', number: 3, startBytes: 31 * MIB, sizeBytes: 32 * MIB },
      ],
    },
    {
      name: 'sdb',
      sizeBytes: 64 * MIB,
      logicalSectorBytes: 512,
      model: 'QEMU HARDDISK',
      serial: '',
      bus: 'usb',
      rotational: true,
      removable: true,
      partitions: [],
    },
  ]);
});

void test('block-devices: serials and buses of the other kinds of disks', (t) => {
  const disks = blockDisks(recordedTree(t, 'q35'));
  assert.deepEqual(
    disks.map(({ name, bus, serial, logicalSectorBytes }) => [name, bus, serial, logicalSectorBytes]),
    [
      ['mmcblk0', 'mmc', '0xdeadbeef', 512],
      ['nvme0n1', 'nvme', 'NVME-1', 512],
      ['sda', 'scsi', 'rehost-config', 4096],
      ['sdb', 'ata', 'SATA-9', 512],
      ['vda', 'virtio', 'VBLK-SERIAL', 512],
    ],
  );
  assert.deepEqual(disks.find(({ name }) => name === 'nvme0n1')?.partitions.at(2)?.name, 'nvme0n1p3');
});

void test('block-devices: leaves out what is no whole disk, what has no medium, and names that the contract does not know', (t) => {
  const root = recordedTree(t, 'pc');
  const add = (name: string, size: string, device: boolean): void => {
    const block = join(root, 'sys/block', name);
    mkdirSync(device ? join(block, 'device') : block, { recursive: true });
    writeFileSync(join(block, 'size'), size);
  };
  for (const name of ['loop0', 'ram0', 'zram0', 'dm-0', 'md127', 'nbd0']) add(name, '4096\n', false);
  for (const name of ['fd0', 'mmcblk1boot0', 'mmcblk1gp2', 'mmcblk1rpmb', 'cciss!c0d0']) add(name, '4096\n', true);
  add('sdz', '0\n', true);
  add('nvme0c0n1', '4096\n', true);
  writeFileSync(join(root, 'sys/block/nvme0c0n1/hidden'), '1\n');
  assert.deepEqual(
    blockDisks(root).map(({ name }) => name),
    ['sda', 'sdb'],
  );
});

void test('block-devices: named disks are reported whatever their kind, and only they', (t) => {
  const root = recordedTree(t, 'pc');
  mkdirSync(join(root, 'sys/block/loop3'));
  writeFileSync(join(root, 'sys/block/loop3/size'), '16\n');
  const disks = blockDisks(root, ['loop3', '../../etc']);
  assert.deepEqual(
    disks.map(({ name, sizeBytes }) => [name, sizeBytes]),
    [['loop3', 8192]],
  );
});

void test('block-devices: an ATA disk whose kernel offers no VPD page has the serial from its name', (t) => {
  const root = recordedTree(t, 'q35');
  const device = join(root, 'sys/block/sdb/device');
  writeFileSync(join(device, 'vpd_pg80'), '');
  assert.equal(blockDisks(root).find(({ name }) => name === 'sdb')?.serial, 'SATA-9');
});
