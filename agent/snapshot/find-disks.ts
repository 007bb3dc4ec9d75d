/** Which of a machine's disks are those of a job. A kernel names disks in the order in which it finds them, another one at every boot. */

import { BlockDevice } from '../../native/block.ts';
import { SysError } from '../../native/errors.ts';
import { DeviceSource } from '../export/allocation/source.ts';
import type { BlockDisk } from '../inventory/block-devices.ts';
import { diskIdentity } from './identity.ts';
import type { DiskIdentities } from './provider.ts';

export function devicePath(name: string): string {
  return `/dev/${name}`;
}

/** Size in bytes and identity of the disk at this path. SysError when it cannot be opened. */
export function identityAt(path: string, serial: string): { sizeBytes: number; identity: string } {
  const device = BlockDevice.open(path, { write: false, direct: true });
  const { sizeBytes } = device;
  const source = new DeviceSource(device, sizeBytes);
  try {
    return { sizeBytes, identity: diskIdentity(source, serial) };
  } finally {
    source.free();
    device.close();
  }
}

/**
 * The disk for each name: that of this name, but where `earlier` has another identity for it, the one of any name that shows that
 * identity, if there is one. No disk is found for two names. A name without a disk is left out.
 */
export function findDisks(
  known: readonly BlockDisk[],
  names: readonly string[],
  earlier: DiskIdentities,
): Map<string, BlockDisk> {
  const identities = new Map<BlockDisk, string | undefined>();
  // A disk of another size is not read: a dead one that has nothing to do with the job would cost minutes.
  const shows = (disk: BlockDisk, was: DiskIdentities[string] | undefined): boolean => {
    if (disk.sizeBytes !== was?.sizeBytes) return false;
    if (!identities.has(disk)) identities.set(disk, identityIfReadable(disk));
    return identities.get(disk) === was.identity;
  };
  const found = new Map<string, BlockDisk>();
  const moved: string[] = [];
  for (const name of names) {
    const namesake = known.find((disk) => disk.name === name);
    const expected = Object.hasOwn(earlier, name) ? earlier[name] : undefined;
    if (expected !== undefined && !(namesake && shows(namesake, expected))) moved.push(name);
    else if (namesake) found.set(name, namesake);
  }
  // After the others: of two blank disks of one size each keeps its name.
  for (const name of moved) {
    const taken = new Set(found.values());
    const others = known.filter((one) => !taken.has(one));
    const disk = others.find((one) => shows(one, earlier[name])) ?? others.find((one) => one.name === name);
    if (disk) found.set(name, disk);
  }
  return found;
}

/** A disk that cannot be opened is nobody's: whoever needs it is told so when it is claimed. */
function identityIfReadable({ name, serial }: BlockDisk): string | undefined {
  try {
    return identityAt(devicePath(name), serial).identity;
  } catch (error) {
    if (error instanceof SysError) return undefined;
    throw error;
  }
}
