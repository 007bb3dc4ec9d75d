/** Picks the root file system of the guest among its volumes, and mounts what the steps need below it. */
import { RehostError } from '../../appliance/api/errors.ts';
import { isCheckable } from './check-file-system.ts';
import { DeviceNames, isUnstableName } from './device-names.ts';
import { type FstabEntry, parseFstab } from './fstab.ts';
import { kindOf, readText } from './guest-files.ts';
import { resolveInGuest } from './guest-path.ts';
import type { Mounts } from './mounts.ts';
import { isDebianLike, type OsRelease, readOsRelease } from './os-release.ts';
import type { GuestVolume } from './step.ts';
import { describeVolumes } from './volumes.ts';

export interface FoundRoot {
  volume: GuestVolume;
  /** btrfs: the subvolume that is the root; empty elsewhere. */
  subvolume: string;
  os: OsRelease;
  /** Its own fstab calls this volume its root: 2 by UUID, label or the agent's name, 1 by a name that another disk could have, 0 no. */
  confidence: 0 | 1 | 2;
}

/** Where Debian's and Ubuntu's installers put the root of a btrfs, and the default subvolume. */
const BTRFS_ROOTS = ['', '@rootfs', '@'];

/** Mount points below the root that conversion steps read or write, parents first. */
const MOUNT_POINTS = ['/usr', '/var', '/var/lib', '/var/tmp', '/boot', '/boot/efi', '/efi'];
const ESP_POINTS = ['/boot/efi', '/efi', '/boot'];
/** Type of an EFI system partition in a GPT (UEFI specification) and in an MBR. */
const ESP_TYPES = ['c12a7328-f81f-11d2-ba4b-00a0c93ec93b', '0xef'];

/**
 * The Debian-like root among the volumes; `point` is used as a mount point and free again afterwards. Throws
 * GUEST_UNSUPPORTED with what was found instead, or when several could be meant.
 */
export async function findRoot(volumes: readonly GuestVolume[], mounts: Mounts, point: string): Promise<FoundRoot> {
  refuseHibernated(volumes);
  const found: FoundRoot[] = [];
  for (const volume of volumes) {
    if (!isCheckable(volume) || volume.fileSystem === 'vfat') continue;
    for (const subvolume of volume.fileSystem === 'btrfs' ? BTRFS_ROOTS : ['']) {
      const root = await lookInto(volume, subvolume, volumes, mounts, point);
      if (root) found.push(root);
    }
  }
  const debian = found.filter((root) => isDebianLike(root.os));
  const most = Math.max(...debian.map((root) => root.confidence));
  const candidates = debian.filter((root) => root.confidence === most);
  const [root] = candidates;
  if (root && candidates.length === 1) return root;
  if (root) {
    throw new RehostError(
      'GUEST_UNSUPPORTED',
      `The guest has several Debian-like systems: ${describeRoots(candidates)}.`,
    );
  }
  const what = found.length > 0 ? describeRoots(found) : describeVolumes(volumes);
  throw new RehostError('GUEST_UNSUPPORTED', `No Debian-like system was found on the disks; found ${what}.`);
}

/** A saved memory image would bring the old machine's state back over changed file systems. */
function refuseHibernated(volumes: readonly GuestVolume[]): void {
  const image = volumes.find((volume) => volume.fileSystem === 'swsuspend');
  if (!image) return;
  throw new RehostError('GUEST_UNSUPPORTED', `The guest is hibernated: its memory is saved on ${image.sourceDevice}.`, {
    next: 'Start the source machine, shut it down in full, and order the job again.',
  });
}

async function lookInto(
  volume: GuestVolume,
  subvolume: string,
  volumes: readonly GuestVolume[],
  mounts: Mounts,
  point: string,
): Promise<FoundRoot | undefined> {
  try {
    await mounts.mount(volume, point, { writable: false, subvolume });
  } catch (error) {
    // A btrfs without this subvolume is the ordinary case; the default subvolume must mount.
    if (subvolume !== '') return undefined;
    throw error;
  }
  try {
    const os = await readOsRelease(point);
    if (!os) return undefined;
    const entries = parseFstab((await readText(point, '/etc/fstab')) ?? '');
    return { volume, subvolume, os, confidence: confidenceOf(volume, entries, volumes) };
  } finally {
    await mounts.unmountLast();
  }
}

function confidenceOf(
  volume: GuestVolume,
  entries: readonly FstabEntry[],
  volumes: readonly GuestVolume[],
): FoundRoot['confidence'] {
  const spec = entries.find((entry) => entry.mountPoint === '/')?.spec;
  if (spec === undefined) return 0;
  if (new DeviceNames(volumes, undefined).resolve(spec) === volume) return 2;
  return new DeviceNames(volumes, { volume, spec }).resolve(spec) === volume ? 1 : 0;
}

function describeRoots(roots: readonly FoundRoot[]): string {
  return roots.map((root) => `${root.os.prettyName} on ${root.volume.sourceDevice}`).join(', ');
}

/**
 * Mounts the root at `point`, writable, and below it by its own fstab what the steps need. Answers where the ESP is.
 * Throws GUEST_UNSUPPORTED when fstab wants a volume that is not there.
 */
export async function mountGuest(
  root: FoundRoot,
  volumes: readonly GuestVolume[],
  mounts: Mounts,
  point: string,
): Promise<string | undefined> {
  await mounts.mount(root.volume, point, { writable: true, subvolume: root.subvolume });
  const entries = parseFstab((await readText(point, '/etc/fstab')) ?? '');
  const spec = entries.find((entry) => entry.mountPoint === '/')?.spec;
  const names = new DeviceNames(volumes, { volume: root.volume, spec });
  let esp: string | undefined;
  const mounted = new Set<GuestVolume>();
  for (const path of MOUNT_POINTS) {
    const entry = entries.findLast((candidate) => candidate.mountPoint.replace(/(?<=.)\/+$/, '') === path);
    if (!entry) continue;
    const volume = volumeOf(entry, names, volumes);
    if (!volume) continue;
    await mounts.mount(volume, await mountPoint(point, path), { writable: true, subvolume: subvolumeOf(entry) });
    mounted.add(volume);
    if (ESP_POINTS.includes(path) && volume.fileSystem === 'vfat') esp = path;
  }
  return esp ?? (await mountUnlistedEsp(volumes, mounted, mounts, point));
}

/** An ESP that fstab leaves out (a guest may mount it on demand, or never). */
async function mountUnlistedEsp(
  volumes: readonly GuestVolume[],
  mounted: ReadonlySet<GuestVolume>,
  mounts: Mounts,
  point: string,
): Promise<string | undefined> {
  const esps = volumes.filter((volume) => volume.fileSystem === 'vfat' && ESP_TYPES.includes(volume.partType));
  const [esp] = esps;
  if (!esp || esps.length !== 1 || mounted.has(esp)) return undefined;
  for (const path of ['/boot/efi', '/efi']) {
    if ((await kindOf(point, path)) !== 'folder') continue;
    await mounts.mount(esp, await mountPoint(point, path), { writable: true });
    return path;
  }
  return undefined;
}

async function mountPoint(root: string, path: string): Promise<string> {
  if ((await kindOf(root, path)) !== 'folder') {
    throw new RehostError('GUEST_UNSUPPORTED', `The guest's mount point ${path} is not a folder.`);
  }
  return await resolveInGuest(root, path);
}

/** Undefined for what is no volume of a disk (tmpfs, bind mounts, network) and for an ESP that is not there: its step says so. */
function volumeOf(entry: FstabEntry, names: DeviceNames, volumes: readonly GuestVolume[]): GuestVolume | undefined {
  const volume = names.resolve(entry.spec);
  if (volume && isCheckable(volume)) return volume;
  const named = isUnstableName(entry.spec) || /^(?:UUID|LABEL|PARTUUID|PARTLABEL)=|^\/dev\//i.test(entry.spec);
  if (!named || entry.fileSystem === 'vfat' || entry.options.includes('nofail')) return undefined;
  throw new RehostError(
    'GUEST_UNSUPPORTED',
    `The guest mounts ${entry.mountPoint} from ${JSON.stringify(entry.spec)}, which is not among the copied volumes: ${describeVolumes(volumes)}.`,
  );
}

function subvolumeOf(entry: FstabEntry): string {
  const option = entry.options.find((candidate) => candidate.startsWith('subvol='));
  const name = option?.slice('subvol='.length).replace(/^\/+/, '') ?? '';
  // It becomes one of mount's comma-separated options: anything unusual is left to the file system's default.
  return /^[A-Za-z0-9@._/-]*$/.test(name) ? name : '';
}
