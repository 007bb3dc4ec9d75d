import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { installedMemoryBytes } from '../../../agent/inventory/smbios.ts';
import { systemFacts } from '../../../agent/inventory/system.ts';
import { recordedTree } from './recorded/tree.ts';

const MIB = 1024 * 1024;

/** One Memory Device structure (SMBIOS 2.8, 40 bytes) with a string, as firmware writes it. */
function memoryDevice(size: number, extendedMib = 0): Buffer {
  const structure = Buffer.alloc(40);
  structure.set([17, 40, 1, 17]);
  structure.writeUInt16LE(size, 0x0c);
  structure.writeUInt32LE(extendedMib, 0x1c);
  return Buffer.concat([structure, Buffer.from('DIMM 0\0\0')]);
}
const END = Buffer.from([127, 4, 0, 127, 0, 0]);

void test('smbios: the sum of the modules of a recorded machine', (t) => {
  const table = readFileSync(join(recordedTree(t, 'pc'), 'sys/firmware/dmi/tables/DMI'));
  assert.equal(installedMemoryBytes(table), 700 * MIB);
});

void test('smbios: empty and unknown sockets, KiB units, modules of 32 GiB and more', () => {
  const table = Buffer.concat([
    memoryDevice(4096),
    memoryDevice(0),
    memoryDevice(0xffff),
    memoryDevice(0x8000 | 512),
    memoryDevice(0x7fff, 65536),
    END,
    memoryDevice(1),
  ]);
  assert.equal(installedMemoryBytes(table), 4096 * MIB + 512 * 1024 + 65536 * MIB);
});

void test('smbios: a table that breaks off or lies about lengths ends the count', () => {
  const whole = memoryDevice(64);
  assert.equal(installedMemoryBytes(Buffer.concat([whole, whole.subarray(0, 20)])), 64 * MIB);
  assert.equal(installedMemoryBytes(Buffer.concat([whole, Buffer.from([17, 0, 0, 0, 0, 0])])), 64 * MIB);
  assert.equal(installedMemoryBytes(Buffer.alloc(0)), 0);
});

void test('system: what the firmware says of a BIOS machine', (t) => {
  const root = recordedTree(t, 'pc');
  const { cpu, memoryBytes, ...rest } = systemFacts(root);
  assert.deepEqual(rest, {
    vendor: 'ACME',
    product: 'Box 3000',
    serial: 'S123',
    uuid: '6a4d6b52-0000-4000-8000-0123456789ab',
    firmware: 'bios',
    secureBoot: false,
  });
  assert.ok(cpu.cores >= 1);
  assert.ok(memoryBytes >= totalmem());
});

void test('system: UEFI, and Secure Boot by its variable', (t) => {
  const root = recordedTree(t, 'q35');
  const { firmware, secureBoot, serial, uuid } = systemFacts(root);
  assert.deepEqual(
    { firmware, secureBoot, serial, uuid },
    { firmware: 'uefi', secureBoot: false, serial: '', uuid: '' },
  );
  const variable = join(root, 'sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c');
  writeFileSync(variable, Buffer.from([6, 0, 0, 0, 1]));
  assert.equal(systemFacts(root).secureBoot, true);
  rmSync(variable);
  assert.equal(systemFacts(root).secureBoot, false);
});
