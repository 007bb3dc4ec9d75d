/**
 * Every kernel's initramfs must bring the drivers of the target's disks and NICs. Each is looked into first; only those
 * that lack a driver, or that would wait for a hibernation device by its old name, are built again by the guest's own
 * update-initramfs: no other program knows all of its hooks.
 */
import { RehostError } from '../../../appliance/api/errors.ts';
import { isUnstableName } from '../device-names.ts';
import { kindOf, listFolder, makeFolder, openGuestFile, readText, writeText } from '../guest-files.ts';
import { runInGuest } from '../guest-program.ts';
import { lastWords } from '../run.ts';
import type { ConversionStep, Guest } from '../step.ts';
import { type InitramfsContent, moduleName, readInitramfs } from './initramfs-image.ts';

/** Disks and NICs of the target VM, and the bus that they sit on. */
export const REQUIRED_MODULES = ['virtio_pci', 'virtio_blk', 'virtio_scsi', 'virtio_net'] as const;

const UPDATE_INITRAMFS = '/usr/sbin/update-initramfs';
const MODULES_FILE = '/etc/initramfs-tools/modules';
/** Read after conf.d's other files (in the order of their names), so that its MODULES= counts. */
const MODULES_OVERRIDE = '/etc/initramfs-tools/conf.d/zz-rehost';
const MODULES_OVERRIDE_TEXT = '# Written by Rehost: this machine moved to other hardware.\nMODULES=most\n';
/** Some 10 s on a free machine, 45 s on a busy one, and ten times that and more under software emulation. */
const REBUILD_TIMEOUT_MS = 20 * 60_000;
/** Names of kernels as Debian's packages make them; nothing else reaches an argument of the guest's programs. */
const KERNEL_VERSION = /^[A-Za-z0-9][A-Za-z0-9.+~_-]{0,127}$/;
const KERNELS_MAX = 64;

export const initramfsVirtio: ConversionStep = {
  name: 'initramfs-virtio',
  async applies(guest) {
    return (await initramfsVersions(guest.root)).length > 0;
  },
  async apply(guest) {
    const versions = await initramfsVersions(guest.root);
    const good: string[] = [];
    const rebuilt: string[] = [];
    for (const version of versions) {
      const lack = await faults(guest, version);
      if (lack.length === 0) {
        good.push(version);
        continue;
      }
      guest.log(`initramfs of ${version}: ${lack.join(', ')}`);
      await rebuild(guest, version);
      const still = await faults(guest, version);
      if (still.length > 0) {
        throw new RehostError(
          'CONVERSION_FAILED',
          `The initramfs of ${version}, built again, still has: ${still.join(', ')}.`,
        );
      }
      rebuilt.push(`${version} (${lack.join(', ')})`);
    }
    const parts: string[] = [];
    if (rebuilt.length > 0) parts.push(`built again with the virtio drivers: ${rebuilt.join('; ')}`);
    if (good.length > 0) parts.push(`has them already: ${good.join(', ')}`);
    return { changed: rebuilt.length > 0, detail: `Initramfs ${parts.join('; ')}.` };
  },
};

/** Kernels that have an image under Debian's name. */
async function initramfsVersions(root: string): Promise<string[]> {
  const versions: string[] = [];
  for (const name of await listFolder(root, '/boot')) {
    const version = /^initrd\.img-(.+)$/.exec(name)?.[1];
    if (version === undefined || /\.(?:bak|dpkg-bak|old|new|old-dkms)$/.test(version) || !KERNEL_VERSION.test(version))
      continue;
    // An image without its kernel cannot be started.
    if ((await kindOf(root, `/boot/vmlinuz-${version}`)) !== 'file') continue;
    versions.push(version);
  }
  return versions.slice(0, KERNELS_MAX);
}

/** What keeps this kernel's image from starting well on the target, in words; empty when nothing does. */
async function faults(guest: Guest, version: string): Promise<string[]> {
  const file = await openGuestFile(guest.root, `/boot/initrd.img-${version}`);
  if (!file) return ['no image'];
  try {
    const content = await readInitramfs(file);
    const builtIn = parseBuiltIn((await readText(guest.root, `/lib/modules/${version}/modules.builtin`)) ?? '');
    const missing = missingModules(content, builtIn);
    const resume = staleResume(content);
    return [
      ...(missing.length > 0 ? [`without ${missing.join(' ')}`] : []),
      ...(resume === undefined ? [] : [`waits for ${resume}`]),
    ];
  } finally {
    await file.close();
  }
}

/** Pure. */
export function missingModules(content: InitramfsContent, builtIn: ReadonlySet<string>): string[] {
  return REQUIRED_MODULES.filter((name) => !content.modules.has(name) && !builtIn.has(name));
}

/** A hibernation device that was built in under a name that is gone: the boot would wait half a minute for it. Pure. */
export function staleResume(content: InitramfsContent): string | undefined {
  for (const text of content.settings.values()) {
    const device = /^\s*RESUME=["']?([^"'\s]+)/m.exec(text)?.[1];
    if (device !== undefined && isUnstableName(device)) return device.replaceAll(/[^\x20-\x7e]/g, '?');
  }
  return undefined;
}

/** modules.builtin: a path per line, kernel/drivers/virtio/virtio_pci.ko. Pure. */
export function parseBuiltIn(text: string): Set<string> {
  const names = text.split('\n').map((line) => /([^/]+)\.ko$/.exec(line.trim())?.[1]);
  return new Set(names.filter((name) => name !== undefined).map(moduleName));
}

async function rebuild(guest: Guest, version: string): Promise<void> {
  const { root } = guest;
  if ((await kindOf(root, UPDATE_INITRAMFS)) !== 'file') {
    throw new RehostError(
      'GUEST_UNSUPPORTED',
      `The initramfs of ${version} lacks virtio drivers, and the guest has no update-initramfs.`,
    );
  }
  if ((await kindOf(root, `/lib/modules/${version}`)) !== 'folder') {
    throw new RehostError(
      'GUEST_UNSUPPORTED',
      `The initramfs of ${version} lacks virtio drivers, and the guest has no modules of that kernel.`,
    );
  }
  await requireModules(root);
  const result = await runInGuest({
    root,
    // The hooks look at the root's and the swap's own signatures, to bring the right fsck and to find the hibernation device.
    devices: guest.volumes.map((volume) => volume.device),
    argv: [UPDATE_INITRAMFS, '-u', '-k', version],
    timeoutMs: REBUILD_TIMEOUT_MS,
    signal: guest.signal,
  });
  for (const line of `${result.stdout}\n${result.stderr}`.split('\n'))
    if (line.trim() !== '') guest.log(`update-initramfs: ${line}`);
  if (result.code !== 0) {
    throw new RehostError(
      'CONVERSION_FAILED',
      `The guest's update-initramfs ended with ${result.code}: ${lastWords(result)}`,
    );
  }
}

/** Names the drivers for this and every later rebuild. */
async function requireModules(root: string): Promise<void> {
  await makeFolder(root, '/etc/initramfs-tools/conf.d');
  const old = (await readText(root, MODULES_FILE)) ?? '';
  const text = withModules(old, REQUIRED_MODULES);
  if (text !== old) await writeText(root, MODULES_FILE, text);
  if ((await readText(root, MODULES_OVERRIDE)) !== MODULES_OVERRIDE_TEXT) {
    await writeText(root, MODULES_OVERRIDE, MODULES_OVERRIDE_TEXT);
  }
}

/** initramfs-tools' modules file with these added at the end, each once. Pure. */
export function withModules(text: string, modules: readonly string[]): string {
  const present = new Set(text.split('\n').map((line) => moduleName(line.trim().split(/\s+/)[0] ?? '')));
  const added = modules.filter((name) => !present.has(name));
  if (added.length === 0) return text;
  const begin = text === '' || text.endsWith('\n') ? text : `${text}\n`;
  return `${begin}${added.join('\n')}\n`;
}
