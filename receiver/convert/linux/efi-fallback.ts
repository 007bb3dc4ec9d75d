/**
 * The source's firmware knew its boot loader by a variable in its NVRAM; the target's NVRAM is new, and so the firmware
 * only tries \EFI\BOOT\BOOTX64.EFI (UEFI specification, 3.5.1.1). The vendor's loader is copied there; its own folder
 * stays, because GRUB's built-in prefix (\EFI\debian) leads to the grub.cfg in it, from wherever GRUB was started.
 *
 * With shim, BOOTX64.EFI is shim, and grubx64.efi stands beside it, where shim looks for its second stage. shim's
 * fallback program (fbx64.efi) is left out on purpose: started from \EFI\BOOT, shim runs it first if it is there; it
 * then writes NVRAM entries from each vendor's BOOT.CSV and, on a machine with a TPM, resets. Without it every boot takes the
 * same way, whether the target's NVRAM is kept or not.
 */
import { createHash } from 'node:crypto';
import { RehostError } from '../../../appliance/api/errors.ts';
import { KEPT_SUFFIX, keepOriginal, kindOf, listFolder, makeFolder, readBytes, writeBytes } from '../guest-files.ts';
import type { ConversionStep, Guest } from '../step.ts';

/** Boot loaders are a few MB; a unified kernel image with its initramfs may be 200. */
const LOADER_MAX_BYTES = 256 * 1024 * 1024;

/** What is copied: names in the vendor's folder to names in \EFI\BOOT. The first is what the firmware starts. */
const LOADERS: readonly (readonly (readonly [string, string])[])[] = [
  [
    ['shimx64.efi', 'BOOTX64.EFI'],
    ['grubx64.efi', 'grubx64.efi'],
    ['mmx64.efi', 'mmx64.efi'],
  ],
  [['grubx64.efi', 'BOOTX64.EFI']],
  [['systemd-bootx64.efi', 'BOOTX64.EFI']],
];
/** shim's MOK manager is only there where Secure Boot keys were ever enrolled. */
const OPTIONAL = 'mmx64.efi';

interface Vendor {
  /** Path of its folder in the guest. */
  folder: string;
  name: string;
  files: readonly (readonly [string, string])[];
  /** The names as they really are on the ESP, by lower case: FAT ignores case, the test of a name does not. */
  names: ReadonlyMap<string, string>;
}

export const efiFallback: ConversionStep = {
  name: 'efi-fallback',
  async applies(guest) {
    return await Promise.resolve(guest.options.firmware === 'uefi');
  },
  async apply(guest) {
    const esp = guest.espMountPoint;
    if (esp === undefined) {
      throw new RehostError(
        'GUEST_UNSUPPORTED',
        'The guest starts by UEFI and has no EFI system partition that could be mounted.',
      );
    }
    const efi = await entryOf(guest, esp, 'efi');
    const vendors = efi === undefined ? [] : await findVendors(guest, efi);
    const vendor = chooseVendor(vendors, guest.families);
    if (efi === undefined || !vendor) return await withoutVendor(guest, efi);
    const boot = (await entryOf(guest, efi, 'boot')) ?? `${efi}/BOOT`;
    await makeFolder(guest.root, boot);
    const present = await namesIn(guest, boot);
    let changed = false;
    for (const [from, to] of vendor.files) {
      const source = vendor.names.get(from);
      if (source === undefined) continue;
      const bytes = await readBytes(guest.root, `${vendor.folder}/${source}`, LOADER_MAX_BYTES);
      if (!bytes) throw new RehostError('CONVERSION_FAILED', `${vendor.folder}/${source} cannot be read.`);
      const target = `${boot}/${present.get(to.toLowerCase()) ?? to}`;
      const old = await readBytes(guest.root, target, LOADER_MAX_BYTES);
      if (old && digest(old) === digest(bytes)) continue;
      if (old) await keepOriginal(guest.root, target, `${target}${KEPT_SUFFIX}`);
      await writeBytes(guest.root, target, bytes);
      changed = true;
    }
    const chain = vendor.files[0]?.[0] === 'shimx64.efi' ? 'shim and GRUB' : (vendor.files[0]?.[0] ?? '');
    return {
      changed,
      detail: changed
        ? `\\EFI\\BOOT\\BOOTX64.EFI starts ${chain} of \\EFI\\${vendor.name}: the firmware needs no boot entry.`
        : `\\EFI\\BOOT\\BOOTX64.EFI is ${chain} of \\EFI\\${vendor.name} already.`,
    };
  },
};

/** A guest that only ever used the fallback path has no vendor folder, and needs none. */
async function withoutVendor(guest: Guest, efi: string | undefined): Promise<{ changed: boolean; detail: string }> {
  const boot = efi === undefined ? undefined : await entryOf(guest, efi, 'boot');
  const loader = boot === undefined ? undefined : await entryOf(guest, boot, 'bootx64.efi');
  if (loader === undefined) {
    throw new RehostError(
      'GUEST_UNSUPPORTED',
      'The EFI system partition holds no boot loader for 64-bit x86 that is known here.',
    );
  }
  return { changed: false, detail: 'The guest starts from \\EFI\\BOOT\\BOOTX64.EFI already.' };
}

async function findVendors(guest: Guest, efi: string): Promise<Vendor[]> {
  const vendors: Vendor[] = [];
  for (const name of await listFolder(guest.root, efi)) {
    const folder = `${efi}/${name}`;
    if (name.toLowerCase() === 'boot' || (await kindOf(guest.root, folder)) !== 'folder') continue;
    const names = await namesIn(guest, folder);
    const files = LOADERS.find((set) => set.every(([from]) => from === OPTIONAL || names.has(from)));
    if (files) vendors.push({ folder, name, files, names });
  }
  return vendors;
}

/** The folder that carries the guest's own name (os-release's ID), or the only one. Pure. */
export function chooseVendor<T extends { name: string }>(
  vendors: readonly T[],
  families: readonly string[],
): T | undefined {
  for (const family of families) {
    const own = vendors.find((vendor) => vendor.name.toLowerCase() === family);
    if (own) return own;
  }
  return vendors.length === 1 ? vendors[0] : undefined;
}

/** Path of the entry with this lower-case name, as it is really spelled. */
async function entryOf(guest: Guest, folder: string, name: string): Promise<string | undefined> {
  const real = (await namesIn(guest, folder)).get(name);
  return real === undefined ? undefined : `${folder}/${real}`;
}

async function namesIn(guest: Guest, folder: string): Promise<Map<string, string>> {
  return new Map((await listFolder(guest.root, folder)).map((name) => [name.toLowerCase(), name]));
}

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
