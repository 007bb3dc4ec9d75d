/** The source's Debian system: packages, and what an administrator would have set up. */
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { RehostError } from '../../../appliance/api/errors.ts';
import { run } from '../command.ts';
import type { Chroot } from './block-device.ts';
import {
  PACKAGES,
  partitionNumber,
  SOURCE_ADDRESS,
  SOURCE_HOST_NAME,
  SOURCE_PREFIX,
  type SourceLayout,
  SUITE,
} from './layout.ts';

const BOOTSTRAP_LIMIT_MS = 20 * 60_000;

/** Installs Debian into the empty, mounted file system at `root`. */
export async function bootstrap(root: string, layout: SourceLayout, log: (line: string) => void): Promise<void> {
  const mirror = await debianMirror();
  await run(
    [
      'mmdebstrap',
      '--mode=root',
      '--variant=minbase',
      `--include=${[...PACKAGES, ...layout.grubPackages].join(',')}`,
      '--dpkgopt=force-unsafe-io',
      // The new file system holds lost+found already.
      '--skip=check/empty',
      SUITE,
      root,
      `deb ${mirror} ${SUITE} main`,
    ],
    { timeoutMs: BOOTSTRAP_LIMIT_MS, onOutput: (text) => bootstrapSteps(text).forEach(log) },
  );
}

/** mmdebstrap's own steps ("I: ..."), without its progress bars. */
function bootstrapSteps(text: string): string[] {
  return text.split(/[\r\n]+/).filter((line) => line.startsWith('I: '));
}

/** Base address of the Debian mirror that this machine's own apt uses. */
async function debianMirror(): Promise<string> {
  const format = '$(REPO_URI)|$(LABEL)';
  const targets = await run(['apt-get', 'indextargets', '--format', format, 'Created-By: Packages']);
  for (const line of targets.split('\n')) {
    const [uri, label] = line.split('|');
    if (uri && label === 'Debian') return uri;
  }
  throw new RehostError('TOOL_FAILED', "This machine's apt knows no Debian mirror.", {
    next: "Add a Debian mirror to apt's sources, run 'apt-get update' and try again.",
  });
}

/** Names, addresses, file systems and the key that may log in as root. */
export async function configureSystem(
  root: string,
  chroot: Chroot,
  layout: SourceLayout,
  publicKey: string,
): Promise<void> {
  await put(root, '/etc/hostname', `${SOURCE_HOST_NAME}\n`);
  await put(root, '/etc/hosts', `127.0.0.1 localhost\n127.0.1.1 ${SOURCE_HOST_NAME}\n::1 localhost\n`);
  await put(root, '/etc/fstab', fstab(layout));
  await put(
    root,
    '/etc/systemd/network/10-lan.network',
    `[Match]\nName=${layout.nicName}\n\n[Network]\nAddress=${SOURCE_ADDRESS}/${SOURCE_PREFIX}\n`,
  );
  await put(root, '/root/.ssh/authorized_keys', publicKey);
  await chmod(join(root, '/root/.ssh'), 0o700);
  await chmod(join(root, '/root/.ssh/authorized_keys'), 0o600);
  // Debian's build host left its resolver here.
  await rm(join(root, '/etc/resolv.conf'), { force: true });
  await chroot(['systemctl', 'enable', 'systemd-networkd.service', 'ssh.service']);
  await chroot(['systemd-machine-id-setup']);
}

/** Device names as installers of old wrote them: the conversion has to make them independent of the disk's bus. */
function fstab(layout: SourceLayout): string {
  const device = (use: 'root' | 'swap' | 'esp'): string => `/dev/sda${partitionNumber(layout, use)}`;
  const lines = [`${device('root')} / ext4 errors=remount-ro 0 1`, `${device('swap')} none swap sw 0 0`];
  if (layout.kind === 'uefi') lines.push(`${device('esp')} /boot/efi vfat umask=0077 0 1`);
  return `${lines.join('\n')}\n`;
}

/**
 * The initramfs of the UEFI kind is cut down to this machine's drivers, so that the same image cannot find a virtio disk.
 * The BIOS kind keeps Debian's default, MODULES=most.
 */
export async function configureInitramfs(root: string, chroot: Chroot, layout: SourceLayout): Promise<void> {
  if (layout.kind !== 'uefi') return;
  await put(root, '/etc/initramfs-tools/conf.d/modules.conf', 'MODULES=list\n');
  await put(root, '/etc/initramfs-tools/modules', 'ahci\nata_piix\nsd_mod\next4\ne1000\n');
  await chroot(['update-initramfs', '-u', '-k', 'all']);
}

/** Writes a file of the guest; `path` is absolute in the guest. */
export async function put(root: string, path: string, text: string): Promise<void> {
  const full = join(root, path);
  await mkdir(dirname(full), { recursive: true });
  await writeFile(full, text);
}
