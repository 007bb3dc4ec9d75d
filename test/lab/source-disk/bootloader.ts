/** GRUB on the source disk: written from inside the guest's own system, without device-mapper and without a FAT driver of this host. */
import { cp, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../command.ts';
import type { Chroot, LoopDevice } from './block-device.ts';
import { put } from './guest-system.ts';
import { partitionNumber, type SourceLayout } from './layout.ts';
import { addBootEntry } from './nvram.ts';

/** Debian's ovmf package: a blank variable store of the 4 MiB flash layout. */
const BLANK_VARS = '/usr/share/OVMF/OVMF_VARS_4M.fd';

export interface BootDisk {
  root: string;
  chroot: Chroot;
  loop: LoopDevice;
  layout: SourceLayout;
  diskPath: string;
  nvramPath: string;
  /** A folder of the builder for files on their way to the ESP. */
  scratch: string;
}

/** Writes GRUB and its configuration, and for UEFI the NVRAM with the entry that names it. */
export async function installBootloader(disk: BootDisk): Promise<void> {
  await writeGrubConfig(disk);
  if (disk.layout.kind === 'bios') await installBios(disk);
  else await installUefi(disk);
}

async function installBios({ chroot, loop }: BootDisk): Promise<void> {
  await chroot(['grub-install', '--target=i386-pc', '--no-floppy', loop.device]);
  // What the installer would have answered: the next update of GRUB asks for this disk.
  await chroot(['sh', '-c', 'echo grub-pc grub-pc/install_devices multiselect /dev/sda | debconf-set-selections']);
}

/**
 * What Debian's grub-install does for a UEFI machine, file by file: the prebuilt GRUB whose prefix is /EFI/debian, its small
 * configuration that finds the root file system, and the modules. No fallback path: only the NVRAM entry leads to it.
 */
async function installUefi(disk: BootDisk): Promise<void> {
  const { root, loop, layout, scratch } = disk;
  const modules = join(root, 'usr/lib/grub/x86_64-efi');
  await mkdir(join(root, 'boot/grub/x86_64-efi'), { recursive: true });
  for (const name of await readdir(modules))
    if (/\.(mod|lst)$/.test(name)) await cp(join(modules, name), join(root, 'boot/grub/x86_64-efi', name));

  const rootUuid = (
    await run(['blkid', '-o', 'value', '-s', 'UUID', loop.partition(partitionNumber(layout, 'root'))])
  ).trim();
  const efi = join(scratch, 'EFI');
  await mkdir(join(efi, 'debian'), { recursive: true });
  await cp(join(modules, 'monolithic/grubx64.efi'), join(efi, 'debian/grubx64.efi'));
  await writeFile(
    join(efi, 'debian/grub.cfg'),
    `search.fs_uuid ${rootUuid} root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n`,
  );
  const esp = loop.partition(partitionNumber(layout, 'esp'));
  await run(['mkfs.vfat', '-F', '32', '-n', 'ESP', esp]);
  await run(['mcopy', '-s', '-i', esp, efi, '::/']);
  await mkdir(join(root, 'boot/efi'), { recursive: true });
  await rm(efi, { recursive: true });
  await writeNvram(disk);
}

async function writeNvram({ diskPath, nvramPath, layout }: BootDisk): Promise<void> {
  const number = partitionNumber(layout, 'esp');
  const field = async (name: string): Promise<string> =>
    (await run(['partx', '--output', name, '--noheadings', '--raw', '--nr', String(number), diskPath])).trim();
  const vars = addBootEntry(await readFile(BLANK_VARS), {
    description: 'debian',
    partitionNumber: number,
    startSector: Number(await field('START')),
    sectors: Number(await field('SECTORS')),
    partitionGuid: await field('UUID'),
    loader: '\\EFI\\debian\\grubx64.efi',
  });
  await writeFile(nvramPath, vars);
}

/** The BIOS kind names its root by device (`root=/dev/sda2`), the UEFI kind by UUID, as Debian does by itself. */
async function writeGrubConfig({ root, chroot, loop, layout }: BootDisk): Promise<void> {
  const number = partitionNumber(layout, 'root');
  const byDevice = layout.kind === 'bios';
  await put(
    root,
    '/etc/default/grub',
    [
      'GRUB_DEFAULT=0',
      'GRUB_TIMEOUT=1',
      'GRUB_DISTRIBUTOR=Debian',
      'GRUB_CMDLINE_LINUX_DEFAULT="quiet"',
      'GRUB_CMDLINE_LINUX=""',
      ...(byDevice ? ['GRUB_DISABLE_LINUX_UUID=true'] : []),
      '',
    ].join('\n'),
  );
  // Only while this configuration is made: on the machine itself the root is sda, here it is a loop device.
  const override = '/etc/default/grub.d/build.cfg';
  await put(root, override, `GRUB_DEVICE=/dev/sda${number}\n`);
  const byUuid = join(root, 'dev/disk/by-uuid');
  const partition = loop.partition(number);
  const uuid = (await run(['blkid', '-o', 'value', '-s', 'UUID', partition])).trim();
  // grub-mkconfig believes in a UUID only when udev has made its link.
  await mkdir(byUuid, { recursive: true });
  await symlink(partition, join(byUuid, uuid));
  await chroot(['update-grub']);
  await rm(join(root, override));
  const config = await readFile(join(root, 'boot/grub/grub.cfg'), 'utf8');
  const wanted = byDevice ? `root=/dev/sda${number} ` : `root=UUID=${uuid} `;
  if (!config.includes(wanted)) throw new Error(`grub.cfg does not say '${wanted}'.`);
}
