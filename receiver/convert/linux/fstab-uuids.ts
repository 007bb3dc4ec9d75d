/**
 * fstab and the hibernation device by UUID: a disk that was /dev/sda on the source is another name on another bus, and a
 * name by path or serial number is gone. Volumes of disks that were not copied get `nofail`, so that the boot does not
 * end in the emergency shell for their sake. crypttab is left: nothing of it can be checked without its key.
 */
import { diskNames, diskOf, isUnstableName, resolveVolume, stableName } from '../device-names.ts';
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
    const plan = planFstab(fstab, guest.volumes);
    if (plan.text !== fstab) await replaceKeeping(guest.root, FSTAB, plan.text);
    notes.push(...plan.notes);
    const resume = await fixResume(guest);
    if (resume !== undefined) notes.push(resume);
    const changed = plan.text !== fstab || resume !== undefined;
    if (notes.length === 0) notes.push('all devices are named independently of the hardware');
    return { changed, detail: `fstab: ${notes.join('; ')}.` };
  },
};

/** The new text and what a person should know. Pure. */
export function planFstab(text: string, volumes: readonly GuestVolume[]): { text: string; notes: string[] } {
  const edits = new Map<number, { spec?: string; options?: string[] }>();
  const notes: string[] = [];
  for (const entry of parseFstab(text)) {
    if (!isUnstableName(entry.spec)) continue;
    const volume = resolveVolume(entry.spec, volumes);
    const stable = volume && stableName(volume, volumes);
    if (volume && stable !== undefined && sameFileSystem(entry, volume)) {
      edits.set(entry.line, { spec: stable });
      notes.push(`${entry.spec} (${place(entry)}) is now ${stable}`);
    } else if (isLeftOut(entry, volumes)) {
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

/** A partition of a disk that is not part of the copy. By-path names say nothing about that. */
function isLeftOut(entry: FstabEntry, volumes: readonly GuestVolume[]): boolean {
  if (mayBeMissing(entry) || entry.mountPoint === '/' || entry.spec.startsWith('/dev/disk/')) return false;
  return !diskNames(volumes).includes(diskOf(entry.spec)) && resolveVolume(entry.spec, volumes) === undefined;
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
async function fixResume(guest: Guest): Promise<string | undefined> {
  const text = await readText(guest.root, RESUME);
  if (text === undefined) return undefined;
  const fixed = planResume(text, guest.volumes);
  if (fixed === text) return undefined;
  // mkinitramfs copies all of conf.d into the image: the original is kept outside of it.
  await replaceKeeping(guest.root, RESUME, fixed, '/etc/initramfs-tools/conf.d.rehost-orig/resume');
  return `hibernation device is now ${/^RESUME=(.*)$/m.exec(fixed)?.[1] ?? 'none'}`;
}

/** RESUME= by UUID; `none` where the volume is not there, because the initramfs would wait for it at each boot. Pure. */
export function planResume(text: string, volumes: readonly GuestVolume[]): string {
  return text.replaceAll(/^(\s*RESUME=)(["']?)([^"'\s#]+)\2/gm, (whole, key: string, _quote: string, spec: string) => {
    if (!isUnstableName(spec)) return whole;
    const volume = resolveVolume(spec, volumes);
    const stable = volume?.fileSystem === 'swap' ? stableName(volume, volumes) : undefined;
    return `${key}${stable ?? 'none'}`;
  });
}
