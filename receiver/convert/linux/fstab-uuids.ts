/**
 * fstab and the hibernation device by UUID: a disk that was /dev/sda on the source is another name on another bus, and a
 * name by path or serial number is gone. Volumes of disks that were not copied get `nofail`, so that the boot does not
 * end in the emergency shell for their sake. crypttab is left: nothing of it can be checked without its key.
 */
import { DeviceNames, diskNames, isUnstableName, splitName, stableName, volumeAt } from '../device-names.ts';
import { editFstab, type FstabEntry, parseFstab } from '../fstab.ts';
import { kindOf, readText, replaceKeeping } from '../guest-files.ts';
import type { ConversionStep, Guest, GuestVolume } from '../step.ts';

const FSTAB = '/etc/fstab';
const RESUME = '/etc/initramfs-tools/conf.d/resume';

export const fstabUuids: ConversionStep = {
  name: 'fstab-uuids',
  async applies(guest) {
    return (await kindOf(guest.root, FSTAB)) === 'file';
  },
  async apply(guest) {
    const notes: string[] = [];
    const fstab = (await readText(guest.root, FSTAB)) ?? '';
    const plan = planFstab(fstab, guest.volumes, guest.rootVolume);
    if (plan.text !== fstab) await replaceKeeping(guest.root, FSTAB, plan.text);
    notes.push(...plan.notes);
    const resume = await fixResume(guest, fstabNames(parseFstab(fstab), guest.volumes, guest.rootVolume));
    if (resume !== undefined) notes.push(resume);
    const changed = plan.text !== fstab || resume !== undefined;
    if (notes.length === 0) notes.push('all devices are named independently of the hardware');
    return { changed, detail: `fstab: ${notes.join('; ')}.` };
  },
};

/** The new text and what a person should know. Pure. */
export function planFstab(
  text: string,
  volumes: readonly GuestVolume[],
  root: GuestVolume,
): { text: string; notes: string[] } {
  const entries = parseFstab(text);
  const names = fstabNames(entries, volumes, root);
  const edits = new Map<number, { spec?: string; options?: string[] }>();
  const notes: string[] = [];
  for (const entry of entries) {
    if (!isUnstableName(entry.spec)) continue;
    const volume = names.resolve(entry.spec) ?? byRole(entry, volumes);
    const stable = volume && stableName(volume, volumes);
    if (volume && stable !== undefined && sameFileSystem(entry, volume)) {
      edits.set(entry.line, { spec: stable });
      notes.push(`${entry.spec} (${place(entry)}) is now ${stable}`);
    } else if (!volume && isLeftOut(entry, volumes)) {
      edits.set(entry.line, { options: [...entry.options, 'nofail'] });
      notes.push(`${entry.spec} (${place(entry)}) was not copied and may be missing now (nofail)`);
    } else if (!mayBeMissing(entry)) {
      notes.push(`${entry.spec} (${place(entry)}) was left: it is not certain which volume is meant`);
    }
  }
  return { text: editFstab(text, edits), notes };
}

function place(entry: FstabEntry): string {
  return entry.fileSystem === 'swap' ? 'swap' : entry.mountPoint;
}

function mayBeMissing(entry: FstabEntry): boolean {
  return entry.options.includes('nofail') || entry.options.includes('noauto');
}

/** fstab's names of its volumes, by its own name of the root. */
function fstabNames(entries: readonly FstabEntry[], volumes: readonly GuestVolume[], root: GuestVolume): DeviceNames {
  return new DeviceNames(volumes, { volume: root, spec: entries.find((entry) => entry.mountPoint === '/')?.spec });
}

/**
 * A swap or an ESP by id or by path, where only one disk was copied and its partition of that number is just that. Were
 * another disk meant, the entry would now use what it is for on this one.
 */
function byRole(entry: FstabEntry, volumes: readonly GuestVolume[]): GuestVolume | undefined {
  const [disk, ...others] = diskNames(volumes);
  const number = splitName(entry.spec)?.number;
  if (!entry.spec.startsWith('/dev/disk/') || disk === undefined || others.length > 0 || number === undefined)
    return undefined;
  const volume = volumeAt(disk, number, volumes);
  const isSwap = entry.fileSystem === 'swap' && volume?.fileSystem === 'swap';
  const isEsp = entry.mountPoint === '/boot/efi' && volume?.fileSystem === 'vfat';
  return isSwap || isEsp ? volume : undefined;
}

/** A partition of a disk that is not part of the copy. By-path names say nothing about that. */
function isLeftOut(entry: FstabEntry, volumes: readonly GuestVolume[]): boolean {
  if (mayBeMissing(entry) || entry.mountPoint === '/' || entry.spec.startsWith('/dev/disk/')) return false;
  return !diskNames(volumes).includes(splitName(entry.spec)?.disk ?? '');
}

/** Guards against a disk order that differed between the source's own system and the agent's. */
function sameFileSystem(entry: FstabEntry, volume: GuestVolume): boolean {
  const family = (type: string): string => {
    if (/^ext[234]$/.test(type)) return 'ext';
    return type === 'msdos' ? 'vfat' : type;
  };
  return entry.fileSystem === 'auto' || family(entry.fileSystem) === family(volume.fileSystem);
}

/** initramfs-tools' RESUME= (initramfs.conf(5)). Answers what was done. */
async function fixResume(guest: Guest, names: DeviceNames): Promise<string | undefined> {
  const text = await readText(guest.root, RESUME);
  if (text === undefined) return undefined;
  const fixed = planResume(text, guest.volumes, names);
  if (fixed === text) return undefined;
  // mkinitramfs copies all of conf.d into the image: the original is kept outside of it.
  await replaceKeeping(guest.root, RESUME, fixed, '/etc/initramfs-tools/conf.d.rehost-orig/resume');
  return `hibernation device is now ${/^RESUME=(.*)$/m.exec(fixed)?.[1] ?? 'none'}`;
}

/** RESUME= by UUID; `none` where the volume is not there, because the initramfs would wait for it at each boot. Pure. */
export function planResume(text: string, volumes: readonly GuestVolume[], names: DeviceNames): string {
  return text.replaceAll(/^(\s*RESUME=)(["']?)([^"'\s#]+)\2/gm, (whole, key: string, _quote: string, spec: string) => {
    if (!isUnstableName(spec)) return whole;
    const volume = names.resolve(spec);
    const stable = volume?.fileSystem === 'swap' ? stableName(volume, volumes) : undefined;
    return `${key}${stable ?? 'none'}`;
  });
}
