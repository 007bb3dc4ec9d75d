import assert from 'node:assert/strict';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CONFIG_DISK_BYTES, CONFIG_DISK_MAGIC, CONFIG_DISK_SERIAL } from '../../../appliance/api/transfer.ts';
import { type BuiltImage, buildImage, type ImageName } from '../../../iso/lib/build.ts';
import { cacheFolder } from '../../../iso/lib/cache.ts';
import { Machine } from './machine.ts';

const cache = cacheFolder(process.env, homedir());
const probe = ['main.ts', 'probe-worker.ts'].map((file) => join(import.meta.dirname, 'runtime-probe', file));
const nic = (model: string): string[] => ['-netdev', 'user,id=n0', '-device', `${model},netdev=n0,romfile=`];

interface Runtime {
  context: boolean;
  xxh3: string;
  worker: boolean;
  addresses: string[];
  availableBytes: number;
  missingTools: string[];
  guest: string[] | null;
  activating: string[];
  blocks: Record<string, boolean>;
}

let work: string;
const images = new Map<ImageName, BuiltImage>();

/** The images as users get them, but with the probe in place of the program. */
function image(name: ImageName): BuiltImage {
  const found = images.get(name);
  assert.ok(found, `${name} was not built`);
  return found;
}

function build(name: ImageName, out: string, from = cache): Promise<BuiltImage> {
  return buildImage(name, { base: 'debian', cache: from, out, entries: probe, log: (line) => console.log(line) });
}

async function runtime(machine: Machine, pattern = /REHOST-RUNTIME (\{.*\})/): Promise<Runtime> {
  return JSON.parse(await machine.says(pattern)) as Runtime;
}

before(async () => {
  work = mkdtempSync(join(tmpdir(), 'rehost-images-'));
  for (const name of ['transfer', 'agent'] as const) {
    const started = performance.now();
    const built = await build(name, join(work, 'out'));
    images.set(name, built);
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    const { totalBytes, unpackedBytes } = built.facts;
    console.log(`${name}: ${totalBytes} bytes, ${unpackedBytes} unpacked, ${seconds} s, built: ${built.built}`);
  }
});

after(() => rmSync(work, { recursive: true, force: true }));

void test('images: both are within their budgets and say so truly', () => {
  for (const [name, budget] of [
    ['transfer', 80 * 1024 * 1024],
    ['agent', 160 * 1024 * 1024],
  ] as const) {
    const { vmlinuz, initrd, facts } = image(name);
    const bytes = statSync(vmlinuz).size + statSync(initrd).size;
    assert.ok(bytes <= budget, `${name} takes ${bytes} of ${budget} bytes`);
    assert.equal(facts.totalBytes, bytes);
    assert.ok(facts.packages.some((entry) => /^linux-image-.*-amd64$/.test(entry.name)));
  }
});

void test('images: a second build from the same inputs is the same byte for byte', async () => {
  // A cache with the downloads and nothing that was made of them: packages are unpacked and files gathered anew.
  // Compressed pieces are named by the hash of what they hold, so that a single differing byte misses them.
  const other = join(work, 'cache');
  mkdirSync(join(other, 'images'), { recursive: true });
  for (const kept of ['apt', 'segments']) {
    symlinkSync(join(cache, 'images', kept), join(other, 'images', kept));
  }
  const again = await build('transfer', join(work, 'again'), other);
  assert.equal(again.built, true);
  assert.deepEqual(again.facts, image('transfer').facts);
  assert.ok(readFileSync(again.initrd).equals(readFileSync(image('transfer').initrd)));
  const third = await build('transfer', join(work, 'third'), other);
  assert.equal(third.built, false);
});

void test('images: the transfer image proves that a host can run it, in one line, and switches off', async () => {
  const machine = new Machine({ ...image('transfer'), memoryMiB: 512, append: 'rehost.probe=1' });
  try {
    await machine.says(/REHOST-PROBE-OK/);
    console.log(`transfer: probe after ${machine.seconds.toFixed(1)} s`);
    await machine.off();
    assert.equal(machine.console.split('REHOST-PROBE-OK').length, 2);
  } finally {
    await machine.destroy();
  }
});

void test('images: the transfer image runs Node, koffi, OpenSSL and xxHash in 512 MiB with an address by DHCP', async () => {
  const machine = new Machine({ ...image('transfer'), memoryMiB: 512, args: nic('virtio-net-pci') });
  try {
    const started = await machine.says(/REHOST-STARTED (\{.*\})/);
    console.log(`transfer: program's first line after ${machine.seconds.toFixed(1)} s: ${started}`);
    const found = await runtime(machine);
    const mib = Math.round(found.availableBytes / 1024 / 1024);
    console.log(
      `transfer: with an address after ${machine.seconds.toFixed(1)} s, ${mib} MiB of 512 available beside it`,
    );
    assert.deepEqual([found.context, found.worker, found.missingTools], [true, true, []]);
    // XXH3_64bits over 4096 zero bytes; the same by `head -c 4096 /dev/zero | xxh3sum`.
    assert.equal(found.xxh3, '10653106456947493306');
    assert.deepEqual(found.addresses, ['10.0.2.15/24']);
    // chown, dac_override, fowner and fsetid (linux/capability.h), and nothing that could be had back.
    assert.deepEqual(found.guest, [
      'root: busybox dev proc run sys',
      'CapEff:\t000000000000001b',
      'CapBnd:\t0000000000000000',
    ]);
    await machine.says(/rehost: the program ended with 0 after \d+ s; starting it again in 0 s/);
    await runtime(machine, /REHOST-RUNTIME.*REHOST-RUNTIME (\{.*?\})\r?\n/s);
  } finally {
    await machine.destroy();
  }
});

void test('images: an address on the config disk is set instead of asking for one', async () => {
  const disk = join(work, 'config');
  const network = { address: '10.0.2.77/24', gateway: '10.0.2.2' };
  writeFileSync(
    disk,
    `${CONFIG_DISK_MAGIC}${JSON.stringify({ address: '192.0.2.1', network, jobId: 'abc123' }, null, 1)}`,
  );
  truncateSync(disk, CONFIG_DISK_BYTES);
  const drive = ['-drive', `file=${disk},format=raw,if=none,id=d0,readonly=on`];
  const device = ['-device', 'virtio-scsi-pci', '-device', `scsi-hd,drive=d0,serial=${CONFIG_DISK_SERIAL}`];
  const args = [...nic('virtio-net-pci'), ...drive, ...device];
  const machine = new Machine({ ...image('transfer'), memoryMiB: 512, args });
  try {
    const found = await runtime(machine);
    console.log(`transfer: program with a config disk after ${machine.seconds.toFixed(1)} s`);
    assert.deepEqual(found.addresses, ['10.0.2.77/24']);
  } finally {
    await machine.destroy();
  }
});

void test('images: the agent image starts its program without a network, and shows the variables of UEFI firmware', async () => {
  const vars = join(work, 'vars');
  copyFileSync('/usr/share/OVMF/OVMF_VARS_4M.fd', vars);
  const flash = (unit: number, file: string): string[] => ['-drive', `if=pflash,format=raw,unit=${unit},${file}`];
  const machine = new Machine({
    ...image('agent'),
    memoryMiB: 1024,
    // The firmware of which Secure Boot is a part, with no keys: it is off, and says so.
    args: [
      ...['-machine', 'smm=on'],
      ...flash(0, 'readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.secboot.fd'),
      ...flash(1, `file=${vars}`),
    ],
  });
  try {
    const started: unknown = JSON.parse(await machine.says(/REHOST-STARTED (\{.*\})/));
    console.log(`agent on UEFI: program after ${machine.seconds.toFixed(1)} s: ${JSON.stringify(started)}`);
    // Attributes BOOTSERVICE_ACCESS and RUNTIME_ACCESS, value 0.
    assert.deepEqual((started as { secureBoot: unknown }).secureBoot, [6, 0, 0, 0, 0]);
    assert.doesNotMatch(
      machine.console,
      /rehost: /,
      'the init script waited for nothing and had nothing to complain of',
    );
  } finally {
    await machine.destroy();
  }
});

void test('images: the agent image drives hardware that it was not told of, also late, and write-protects its disks', async () => {
  const [sata, usb] = ['sata', 'usb'].map((name) => join(work, name));
  assert.ok(sata && usb);
  for (const disk of [sata, usb]) {
    writeFileSync(disk, '');
    truncateSync(disk, 16 * 1024 * 1024);
  }
  const monitor = join(work, 'monitor');
  const machine = new Machine({
    ...image('agent'),
    memoryMiB: 1024,
    append: 'console=tty0 console=ttyS0',
    monitor,
    args: [
      ...nic('e1000'),
      ...['-vga', 'std', '-device', 'qemu-xhci,id=usb'],
      ...['-drive', `file=${sata},format=raw,if=none,id=d0`, '-device', 'ide-hd,drive=d0'],
      ...['-drive', `file=${usb},format=raw,if=none,id=d1`],
    ],
  });
  try {
    const first = await runtime(machine);
    const mib = Math.round(first.availableBytes / 1024 / 1024);
    console.log(`agent: program after ${machine.seconds.toFixed(1)} s, ${mib} MiB of 1024 available beside it`);
    assert.deepEqual([first.context, first.worker], [true, true]);
    assert.deepEqual(first.activating, []);
    assert.deepEqual(first.addresses, ['10.0.2.15/24']);
    assert.deepEqual(first.blocks, { sda: true });
    await machine.plug('device_add usb-storage,bus=usb.0,drive=d1');
    // The program is started again and again with growing waits; some start after the plugging sees the disk.
    const later = await runtime(machine, /REHOST-RUNTIME (\{.*"sdb":true.*\})/);
    assert.deepEqual(later.blocks, { sda: true, sdb: true });
  } finally {
    await machine.destroy();
  }
});
