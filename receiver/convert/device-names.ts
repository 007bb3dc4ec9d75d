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

/** Names with a disk's and a partition's part, for example sda2, nvme0n1p2, ata-X-part2. */
const PARTITION_NUMBER =
  /^\/dev\/(?:(?:sd|hd|vd|xvd)[a-z]+(\d+)|(?:nvme\d+n\d+|mmcblk\d+)p(\d+)|disk\/by-(?:path|id|diskseq)\/.*-part(\d+))$/;

/**
 * The volume that a device name of fstab(5) or the kernel's command line means, or undefined when that is not certain:
 * unknown, or the copy has several disks and the name tells them apart by something that was not copied.
 */
export function resolveVolume(spec: string, volumes: readonly GuestVolume[]): GuestVolume | undefined {
  const tag = tagOf(spec);
  if (tag) return only(volumes.filter((volume) => volume[tag.key] !== '' && matches(volume[tag.key], tag)));
  const exact = volumes.find((volume) => volume.sourceDevice === spec);
  if (exact) return exact;
  // hda2 of an old kernel, vda2, or by-id: with one disk there is only one partition 2.
  const disks = diskNames(volumes);
  const match = PARTITION_NUMBER.exec(spec);
  const number = match?.[1] ?? match?.[2] ?? match?.[3];
  const disk = disks[0];
  if (disks.length !== 1 || disk === undefined || number === undefined) return undefined;
  const name = `/dev/${partitionName(disk, Number.parseInt(number, 10))}`;
  return volumes.find((volume) => volume.sourceDevice === name);
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

/** The disk of a source device name: sda of /dev/sda2, nvme0n1 of /dev/nvme0n1p2. */
export function diskOf(device: string): string {
  const name = device.replace(/^\/dev\//, '');
  const numbered = /^((?:nvme\d+n|mmcblk|loop|md)\d+)(?:p\d+)?$/.exec(name);
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
