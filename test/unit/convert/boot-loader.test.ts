import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resetInstallDevices } from '../../../receiver/convert/linux/debconf.ts';
import { chooseVendor } from '../../../receiver/convert/linux/efi-fallback.ts';
import {
  convertBlsEntry,
  convertDefaultGrub,
  convertGrubCfg,
  convertGrubSnippet,
} from '../../../receiver/convert/linux/grub-text.ts';
import { withSerialConsole, withStableDevices } from '../../../receiver/convert/linux/kernel-command-line.ts';
import { withSerialLogin } from '../../../receiver/convert/linux/serial-getty.ts';
import { ROOT as rootVolume, VOLUMES as volumes } from './volumes.ts';

const KNOWN = { volumes, rootVolume };
const ROOT = 'UUID=11111111-aaaa-4bbb-8ccc-000000000002';
const SWAP = 'UUID=11111111-aaaa-4bbb-8ccc-000000000003';

void test('grub.cfg gets its devices by UUID and a serial console, and nothing else changes', () => {
  const before = [
    'set default="0"',
    'search --no-floppy --fs-uuid --set=root --hint-bios=hd0,gpt2 x # root=/dev/sda2',
    "\tmenuentry 'Debian' {",
    '\t\tlinux\t/boot/vmlinuz-6.1 root=/dev/sda2 ro  quiet resume=/dev/sda3',
    '\t\tinitrd\t/boot/initrd.img-6.1',
    '\t}',
  ];
  const after = convertGrubCfg(before.join('\n'), KNOWN);
  assert.deepEqual(after.text.split('\n'), [
    ...before.slice(0, 3),
    `\t\tlinux\t/boot/vmlinuz-6.1 root=${ROOT} ro  quiet resume=${SWAP} console=ttyS0,115200 console=tty0`,
    ...before.slice(4),
  ]);
  assert.deepEqual(convertGrubCfg(after.text, KNOWN), { text: after.text, notes: [] }, 'a second time changes nothing');
});

void test('the last console stays the last one', () => {
  const cases: [string, string][] = [
    ['ro quiet', 'ro quiet console=ttyS0,115200 console=tty0'],
    ['console=tty0 ro', 'console=ttyS0,115200 console=tty0 ro'],
    ['ro console=tty0 console=ttyS1,9600', 'ro console=ttyS0,115200 console=tty0 console=ttyS1,9600'],
    ['console=tty0 console=ttyS0,9600n8', 'console=tty0 console=ttyS0,9600n8'],
    ['console=ttyS0', 'console=ttyS0'],
    ['netconsole=x', 'netconsole=x console=ttyS0,115200 console=tty0'],
    ['', 'console=ttyS0,115200 console=tty0'],
    ['ro \n', 'ro console=ttyS0,115200 console=tty0 \n'],
  ];
  for (const [before, after] of cases) assert.equal(withSerialConsole(before).text, after, before);
});

void test('the kernel keeps a root that holds on any hardware or is not known', () => {
  for (const line of [
    `root=${ROOT} ro`,
    'root=/dev/mapper/vg-root',
    'nfsroot=/dev/sda2',
    'root=/dev/sdz9',
    'root=/dev/sda3',
  ]) {
    assert.equal(withStableDevices(line, KNOWN).text, line);
  }
  assert.equal(withStableDevices('root=/dev/hda2 resume=/dev/hda3', KNOWN).text, `root=${ROOT} resume=${SWAP}`);
  assert.match(withStableDevices('root=/dev/sdz9', KNOWN).notes.join(), /not certain/);
});

void test('/etc/default/grub gets the console, UUIDs and its roots by UUID again', () => {
  const before =
    'GRUB_TIMEOUT=1\nGRUB_CMDLINE_LINUX_DEFAULT="quiet resume=/dev/sda3"\nGRUB_CMDLINE_LINUX=""\nGRUB_DISABLE_LINUX_UUID=true\n';
  const after = convertDefaultGrub(before, KNOWN).text;
  assert.equal(
    after,
    `GRUB_TIMEOUT=1\nGRUB_CMDLINE_LINUX_DEFAULT="quiet resume=${SWAP}"\nGRUB_CMDLINE_LINUX="console=ttyS0,115200 console=tty0"\nGRUB_DISABLE_LINUX_UUID=false\n`,
  );
  assert.equal(convertDefaultGrub(after, KNOWN).text, after, 'a second time changes nothing');
});

void test('/etc/default/grub keeps quotes, comments and what a shell computes', () => {
  const cases: [string, RegExp][] = [
    ["GRUB_CMDLINE_LINUX='a b' # mine\n", /^GRUB_CMDLINE_LINUX='a b console=ttyS0,115200 console=tty0' # mine\n$/],
    ['GRUB_CMDLINE_LINUX=a\n', /^GRUB_CMDLINE_LINUX="a console=ttyS0,115200 console=tty0"\n$/],
    [
      'GRUB_CMDLINE_LINUX=$(cat x)\n',
      /^GRUB_CMDLINE_LINUX=\$\(cat x\)\nGRUB_CMDLINE_LINUX="\$GRUB_CMDLINE_LINUX console=ttyS0,115200 console=tty0"\n$/,
    ],
    ['GRUB_TIMEOUT=1', /^GRUB_TIMEOUT=1\nGRUB_CMDLINE_LINUX="\$GRUB_CMDLINE_LINUX console=.*"\n$/],
  ];
  for (const [before, after] of cases) {
    const { text } = convertDefaultGrub(before, KNOWN);
    assert.match(text, after);
    assert.equal(convertDefaultGrub(text, KNOWN).text, text, 'a second time changes nothing');
  }
});

void test('a file of /etc/default/grub.d gets its devices, and a console where it replaces the command line', () => {
  const cases: [string, string][] = [
    ['GRUB_CMDLINE_LINUX_DEFAULT="root=/dev/sda2 quiet"\n', `GRUB_CMDLINE_LINUX_DEFAULT="root=${ROOT} quiet"\n`],
    ['GRUB_CMDLINE_LINUX="net.ifnames=0"\n', 'GRUB_CMDLINE_LINUX="net.ifnames=0 console=ttyS0,115200 console=tty0"\n'],
    ['GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX quiet"\n', 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX quiet"\n'],
    ['GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,9600"', 'GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,9600"'],
    ['GRUB_DISABLE_LINUX_UUID=true', 'GRUB_DISABLE_LINUX_UUID=false'],
    ['GRUB_TIMEOUT=1', 'GRUB_TIMEOUT=1'],
  ];
  for (const [before, after] of cases) {
    assert.equal(convertGrubSnippet(before, KNOWN).text, after);
    assert.equal(convertGrubSnippet(after, KNOWN).text, after, 'a second time changes nothing');
  }
});

void test('boot loader entries get their options converted', () => {
  const entry = 'title Debian\nlinux /vmlinuz\noptions root=/dev/sda2 ro\n';
  assert.equal(
    convertBlsEntry(entry, KNOWN).text,
    `title Debian\nlinux /vmlinuz\noptions root=${ROOT} ro console=ttyS0,115200 console=tty0\n`,
  );
});

void test('grub-pc forgets its disks, and only grub-pc does', () => {
  const other = 'Name: grub-pc/timeout\nTemplate: grub-pc/timeout\nValue: 5\nOwners: grub-pc\nFlags: seen\n';
  const database = `Name: grub-pc/install_devices\nTemplate: grub-pc/install_devices\nValue: /dev/disk/by-id/ata-X\nOwners: grub-pc\nFlags: seen\n\n${other}`;
  const reset = resetInstallDevices(database);
  assert.equal(reset, `Name: grub-pc/install_devices\nTemplate: grub-pc/install_devices\nOwners: grub-pc\n\n${other}`);
  assert.equal(resetInstallDevices(reset), reset);
});

void test("the EFI vendor folder is the guest's own, or the only one", () => {
  const [debian, windows, old] = [{ name: 'debian' }, { name: 'Microsoft' }, { name: 'ubuntu' }];
  assert.equal(chooseVendor([windows, debian, old], ['debian']), debian);
  assert.equal(chooseVendor([windows, old], ['linuxmint', 'ubuntu', 'debian']), old);
  assert.equal(chooseVendor([windows], ['debian']), windows);
  assert.equal(chooseVendor([windows, old], ['debian']), undefined);
});

void test('inittab gets one serial login', () => {
  const once = withSerialLogin('id:2:initdefault:\n#T0:23:respawn:/sbin/getty -L ttyS0 9600 vt100\n');
  assert.match(once, /\nT0:23:respawn:\/sbin\/getty -L ttyS0 115200 vt100\n$/);
  assert.equal(withSerialLogin(once), once);
});
