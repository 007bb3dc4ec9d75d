import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { predictableNames } from '../../../agent/inventory/nic-names.ts';
import { sourceNics } from '../../../agent/inventory/nics.ts';
import { recordedTree } from './recorded/tree.ts';

void test('nic-names: a PC with ACPI slots names by slot, then by path', (t) => {
  const root = recordedTree(t, 'pc');
  assert.deepEqual(predictableNames(root, 'eth1'), ['ens3', 'enp0s3']);
});

void test('nic-names: the firmware index comes first, virtio is looked through', (t) => {
  const root = recordedTree(t, 'pc');
  assert.deepEqual(predictableNames(root, 'eth0'), ['eno7', 'ens4', 'enp0s4']);
});

void test('nic-names: a USB card is named by MAC or by its ports', (t) => {
  const root = recordedTree(t, 'pc');
  assert.deepEqual(predictableNames(root, 'usb0'), ['enx525400000003', 'ens2u2u1', 'enp0s2u2u1']);
});

void test('nic-names: behind a PCI Express port the bus is the port’s, slots without a number do not count', (t) => {
  const root = recordedTree(t, 'q35');
  assert.deepEqual(predictableNames(root, 'eth0'), ['enp1s0']);
  assert.deepEqual(predictableNames(root, 'eth3'), ['enp2s0']);
});

void test('nic-names: the slot of a bridge above counts, because older systems name by it', (t) => {
  const root = recordedTree(t, 'q35');
  mkdirSync(join(root, 'sys/bus/pci/slots/9'));
  writeFileSync(join(root, 'sys/bus/pci/slots/9/address'), '0000:00:01\n');
  assert.deepEqual(predictableNames(root, 'eth0'), ['ens9', 'enp1s0']);
});

void test('nic-names: a device with several functions carries the function, the first one too', (t) => {
  const root = recordedTree(t, 'q35');
  assert.deepEqual(predictableNames(root, 'eth1').at(-1), 'enp0s5f0');
  assert.deepEqual(predictableNames(root, 'eth2').at(-1), 'enp0s5f1');
});

void test('nic-names: ports of one function, wireless cards, rubbish indexes, names too long', (t) => {
  const root = recordedTree(t, 'q35');
  const net = join(root, 'sys/class/net/eth3');
  const device = join(net, 'device');
  writeFileSync(join(net, 'dev_port'), '1\n');
  writeFileSync(join(device, 'index'), '3\n');
  assert.deepEqual(predictableNames(root, 'eth3'), ['eno3d1', 'enp2s0d1']);
  writeFileSync(join(net, 'phys_port_name'), 'p0\n');
  writeFileSync(join(device, 'acpi_index'), '16777215\n');
  assert.deepEqual(predictableNames(root, 'eth3'), ['enp2s0np0']);
  writeFileSync(join(net, 'uevent'), 'DEVTYPE=wlan\nINTERFACE=eth3\n');
  assert.deepEqual(predictableNames(root, 'eth3'), ['wlp2s0np0']);
  writeFileSync(join(net, 'phys_port_name'), 'a-long-panel-name\n');
  assert.deepEqual(predictableNames(root, 'eth3'), []);
});

void test('nics: physical cards only, with MAC, driver and names', (t) => {
  const root = recordedTree(t, 'pc');
  const bridge = join(root, 'sys/class/net/br0');
  mkdirSync(bridge);
  writeFileSync(join(bridge, 'address'), '52:54:00:00:00:01\n');
  writeFileSync(join(bridge, 'type'), '1\n');
  assert.deepEqual(sourceNics(root), [
    {
      name: 'eth0',
      pathNames: ['eno7', 'ens4', 'enp0s4'],
      mac: '52:54:00:00:00:02',
      speedMbit: null,
      driver: 'virtio_net',
    },
    { name: 'eth1', pathNames: ['ens3', 'enp0s3'], mac: '52:54:00:00:00:01', speedMbit: null, driver: 'e1000' },
    {
      name: 'usb0',
      pathNames: ['enx525400000003', 'ens2u2u1', 'enp0s2u2u1'],
      mac: '52:54:00:00:00:03',
      speedMbit: null,
      driver: 'cdc_ether',
    },
  ]);
});

void test('nics: the speed of a link that is up', (t) => {
  const root = recordedTree(t, 'q35');
  writeFileSync(join(root, 'sys/class/net/eth1/speed'), '1000\n');
  writeFileSync(join(root, 'sys/class/net/eth2/speed'), '0\n');
  const speeds = sourceNics(root).map(({ name, speedMbit }) => `${name} ${speedMbit}`);
  assert.deepEqual(speeds, ['eth0 null', 'eth1 1000', 'eth2 null', 'eth3 null']);
});
