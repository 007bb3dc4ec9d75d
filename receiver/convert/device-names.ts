/** From the names that a guest's configuration uses for its volumes to the volumes, and to names that hold on any bus. */
import type { GuestVolume } from './step.ts';
import { partitionName } from './volumes.ts';

/** Names that depend on a controller, a slot or a serial number: they change with the machine. */
const UNSTABLE =
  /^\/dev\/(?:(?:sd|hd|vd|xvd)[a-z]+\d*|nvme\d+n\d+(?:p\d+)?|mmcblk\d+(?:p\d+)?|disk\/by-(?:path|id|diskseq)\/.+)$/;

/** Does this name change when the machine does? */
export function isUnstableName(spec: string): boolean {
  return UNSTABLE.test(spec);
}

/** Names with a disk's and a partition's part, for example sda2, nvme0n1p2, disk/by-id/ata-X-part2. */
const PARTED =
  /^(?:((?:sd|hd|vd|xvd)[a-z]+)(\d+)?|((?:nvme\d+n|mmcblk)\d+)(?:p(\d+))?|(disk\/by-(?:path|id|diskseq)\/.+?)(?:-part(\d+))?)$/;

interface Parted {
  disk: string;
  /** Undefined for a whole disk. */
  number: number | undefined;
}

/** Disk and partition number of an unstable name; undefined for other names. */
export function splitName(spec: string): Parted | undefined {
  if (!isUnstableName(spec)) return undefined;
  const match = PARTED.exec(spec.replace(/^\/dev\//, ''));
  const disk = match?.[1] ?? match?.[3] ?? match?.[5];
  const number = match?.[2] ?? match?.[4] ?? match?.[6];
  if (disk === undefined) return undefined;
  return { disk, number: number === undefined ? undefined : Number.parseInt(number, 10) };
}

/** The root volume, and the name that the text at hand (fstab, a command line) gives to it, if it does. */
export interface RootName {
  volume: GuestVolume;
  spec: string | undefined;
}

/**
 * Resolves the device names of one text. The guest may have called its disks otherwise than the agent's kernel did
 * (hda, a different order, names by id): which disk is meant is learnt from the text's own name of the root volume, and
 * never guessed. With no such name the agent's names are taken.
 */
export class DeviceNames {
  readonly #volumes: readonly GuestVolume[];
  readonly #alias: { from: string; to: string } | undefined;

  constructor(volumes: readonly GuestVolume[], root: RootName | undefined) {
    this.#volumes = volumes;
    this.#alias = root && aliasOf(root);
  }

  /** The volume that a name means; undefined when it is unknown or not certain. */
  resolve(spec: string): GuestVolume | undefined {
    const tag = tagOf(spec);
    if (tag) return only(this.#volumes.filter((volume) => volume[tag.key] !== '' && matches(volume[tag.key], tag)));
    const name = splitName(spec);
    if (name && this.#alias) {
      if (name.disk === this.#alias.from) return volumeAt(this.#alias.to, name.number, this.#volumes);
      // The guest's order of disks is not the agent's: what it calls another disk says nothing here.
      if (this.#alias.from !== this.#alias.to && !this.#alias.from.startsWith('disk/')) return undefined;
    }
    return this.#volumes.find((volume) => volume.sourceDevice === spec);
  }
}

function aliasOf({ volume, spec }: RootName): { from: string; to: string } | undefined {
  const named = spec === undefined ? undefined : splitName(spec);
  const disk = diskOf(volume.sourceDevice);
  // The agent's name is any that a kernel gives: loop0p2, pmem0p1 and dasda1 as well as sda2.
  const suffix = volume.sourceDevice.slice(`/dev/${disk}`.length);
  const number = suffix === '' ? undefined : Number.parseInt(suffix.replace(/^p/, ''), 10);
  return named && named.number === number ? { from: named.disk, to: disk } : undefined;
}

/** The volume of this partition of a disk, by the source's name of the disk. */
export function volumeAt(
  disk: string,
  number: number | undefined,
  volumes: readonly GuestVolume[],
): GuestVolume | undefined {
  const name = number === undefined ? disk : partitionName(disk, number);
  return volumes.find((volume) => volume.sourceDevice === `/dev/${name}`);
}

/** A name for this volume that holds on any bus: UUID=, PARTUUID= where the UUID is missing or not unique; undefined when neither serves. */
export function stableName(volume: GuestVolume, volumes: readonly GuestVolume[]): string | undefined {
  const unique = (key: 'uuid' | 'partUuid'): boolean =>
    volume[key] !== '' && volumes.filter((other) => other[key] === volume[key]).length === 1;
  if (unique('uuid')) return `UUID=${volume.uuid}`;
  if (unique('partUuid')) return `PARTUUID=${volume.partUuid}`;
  return undefined;
}

/** Kernel names of the source's disks that have volumes here, for example ['sda']. */
export function diskNames(volumes: readonly GuestVolume[]): string[] {
  return [...new Set(volumes.map((volume) => diskOf(volume.sourceDevice)))];
}

/** The disk of a source device name: sda of /dev/sda2, nvme0n1 of /dev/nvme0n1p2. A disk whose name ends in a digit has a p before the number. */
export function diskOf(device: string): string {
  const name = device.replace(/^\/dev\//, '');
  const numbered = /^((?:nvme\d+n|mmcblk|loop|md|nbd|pmem|rbd)\d+)(?:p\d+)?$/.exec(name);
  return numbered?.[1] ?? name.replace(/\d+$/, '');
}

interface Tag {
  key: 'uuid' | 'label' | 'partUuid' | 'partLabel';
  value: string;
}

const TAGS = new Map<string, Tag['key']>([
  ['uuid', 'uuid'],
  ['label', 'label'],
  ['partuuid', 'partUuid'],
  ['partlabel', 'partLabel'],
]);

/** UUID=x, LABEL="x", /dev/disk/by-uuid/x ... */
function tagOf(spec: string): Tag | undefined {
  const match =
    /^(UUID|LABEL|PARTUUID|PARTLABEL)="?([^"]*)"?$/i.exec(spec) ?? /^\/dev\/disk\/by-([a-z]+)\/(.+)$/.exec(spec);
  const key = TAGS.get((match?.[1] ?? '').toLowerCase());
  if (key === undefined) return undefined;
  // fstab writes a blank in a label as \040, udev's links as \x20.
  const value = (match?.[2] ?? '')
    .replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
    .replaceAll(/\\x([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return { key, value };
}

function matches(value: string, tag: Tag): boolean {
  if (tag.key === 'uuid' || tag.key === 'partUuid') return value.toLowerCase() === tag.value.toLowerCase();
  return value === tag.value;
}

function only<T>(items: readonly T[]): T | undefined {
  return items.length === 1 ? items[0] : undefined;
}
