/** The guest's partitions on the overlay devices, and what is on each. */
import { readdir, readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { RehostError } from '../../appliance/api/errors.ts';
import { run } from './run.ts';
import type { GuestVolume } from './step.ts';

/** A disk of the guest: the name that the source gave it, and the overlay's device here. */
export interface ConvertDisk {
  /** Kernel name on the source without /dev, for example `sda`. */
  disk: string;
  /** Device here, for example /dev/sdb. */
  device: string;
}

/** A partition before anyone has looked into it. */
export interface FoundPartition {
  device: string;
  sourceDevice: string;
  partUuid: string;
  partLabel: string;
  partType: string;
}

/** Finds the partitions of a disk; a disk without any is answered as itself. */
export type FindPartitions = (disk: ConvertDisk) => Promise<FoundPartition[]>;

const PROBE_TIMEOUT_MS = 60_000;
/** More partitions than this are not a machine that anyone meant to copy. */
const PARTITIONS_MAX = 256;

/** The kernel's name of partition `number`: a `p` stands between when the disk's own name ends with a digit (block/partitions/core.c). */
export function partitionName(disk: string, number: number): string {
  return /\d$/.test(disk) ? `${disk}p${number}` : `${disk}${number}`;
}

/** The partitions that the kernel has read from the disk's table, from sysfs. */
export const findKernelPartitions: FindPartitions = async ({ disk, device }) => {
  const name = basename(device);
  const numbers: number[] = [];
  for (const entry of await readdir(`/sys/class/block/${name}`)) {
    if (!entry.startsWith(name)) continue;
    const text = await readFile(`/sys/class/block/${name}/${entry}/partition`, 'utf8');
    numbers.push(Number.parseInt(text, 10));
  }
  if (numbers.length === 0) return [unpartitioned({ disk, device })];
  const found: FoundPartition[] = [];
  for (const number of numbers.sort((a, b) => a - b)) {
    const partition = `/dev/${partitionName(name, number)}`;
    const facts = await probe(partition);
    found.push({
      device: partition,
      sourceDevice: `/dev/${partitionName(disk, number)}`,
      partUuid: facts.get('ID_PART_ENTRY_UUID') ?? '',
      partLabel: facts.get('ID_PART_ENTRY_NAME') ?? '',
      partType: facts.get('ID_PART_ENTRY_TYPE') ?? '',
    });
  }
  return found;
};

/** A disk whose file system begins at its first sector. */
export function unpartitioned({ disk, device }: ConvertDisk): FoundPartition {
  return { device, sourceDevice: `/dev/${disk}`, partUuid: '', partLabel: '', partType: '' };
}

/** All volumes of all disks, probed. Throws GUEST_UNSUPPORTED when there are absurdly many. */
export async function findVolumes(disks: readonly ConvertDisk[], find: FindPartitions): Promise<GuestVolume[]> {
  const volumes: GuestVolume[] = [];
  for (const disk of disks) {
    for (const partition of await find(disk)) {
      const facts = await probe(partition.device);
      volumes.push({
        ...partition,
        fileSystem: facts.get('ID_FS_TYPE') ?? '',
        uuid: facts.get('ID_FS_UUID_ENC') ?? '',
        label: facts.get('ID_FS_LABEL_ENC') ?? '',
      });
      if (volumes.length > PARTITIONS_MAX) {
        throw new RehostError('GUEST_UNSUPPORTED', `The guest has more than ${PARTITIONS_MAX} partitions.`);
      }
    }
  }
  return volumes;
}

/**
 * What blkid finds on a device, by udev's names. Exit code 2 means that nothing was found, 8 that several signatures
 * contradict each other (blkid(8)): both are answered as nothing, so that no step touches what is not certain.
 */
async function probe(device: string): Promise<Map<string, string>> {
  const result = await run('blkid', ['-p', '-o', 'udev', device], { timeoutMs: PROBE_TIMEOUT_MS });
  if (result.code !== 0 && result.code !== 2 && result.code !== 8) {
    throw new RehostError('TOOL_FAILED', `blkid could not read ${device}: ${result.stderr.trim()}`);
  }
  return parseUdevFacts(result.stdout);
}

/** Lines NAME=value; a value has unsafe bytes as \xNN (libblkid's blkid_encode_string). */
export function parseUdevFacts(text: string): Map<string, string> {
  const facts = new Map<string, string>();
  for (const line of text.split('\n')) {
    const at = line.indexOf('=');
    if (at < 1) continue;
    const value = line
      .slice(at + 1)
      .replaceAll(/\\x([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
    facts.set(line.slice(0, at), value);
  }
  return facts;
}

/** One line about what was found, for a refusal. */
export function describeVolumes(volumes: readonly GuestVolume[]): string {
  if (volumes.length === 0) return 'nothing';
  return volumes.map((volume) => `${volume.fileSystem || 'nothing known'} on ${volume.sourceDevice}`).join(', ');
}
