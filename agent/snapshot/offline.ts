/**
 * The `offline` snapshot: the source machine runs the agent instead of its own system, so that nothing changes its disks.
 * The instant is that of the order; the disks are claimed (O_EXCL) until the release, so that nothing can mount or activate them.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { RehostError } from '../../appliance/api/errors.ts';
import { BlockDevice } from '../../native/block.ts';
import type { BlockDisk } from '../inventory/block-devices.ts';
import { devicePath, findDisks, identityAt } from './find-disks.ts';
import { findUse } from './in-use.ts';
import type { DiskIdentities, Snapshot, SnapshotDisk, SnapshotProvider } from './provider.ts';
import { protectDisks } from './read-only.ts';

interface Claim extends SnapshotDisk {
  fd: number;
}

/** `known` answers the machine's whole disks at the moment of the call. */
export function offlineProvider(known: () => readonly BlockDisk[]): SnapshotProvider {
  return {
    name: 'offline',
    canSnapshot(disks) {
      try {
        release(claimAll(known(), disks));
      } catch (error) {
        if (error instanceof RehostError) return Promise.resolve(error.message);
        return Promise.reject(error instanceof Error ? error : new Error(String(error)));
      }
      return Promise.resolve(undefined);
    },
    // Asynchronous, so that a refusal is a rejection.
    async create(disks, earlier = {}) {
      const present = known();
      const claims = claimAll(present, disks, earlier);
      try {
        // Those that were plugged in after the agent's start are not marked yet.
        protectDisks(present.filter(({ name }) => claims.some(({ path }) => path === devicePath(name))));
      } catch (error) {
        release(claims);
        throw error;
      }
      return offlineSnapshot(claims);
    },
  };
}

/** All of them or, with SNAPSHOT_REFUSED or SOURCE_READ_FAILED, none. */
function claimAll(known: readonly BlockDisk[], disks: readonly string[], earlier: DiskIdentities = {}): Claim[] {
  const claims: Claim[] = [];
  const found = findDisks(known, disks, earlier);
  try {
    for (const name of disks) {
      // Before any path is made of the name.
      const disk = found.get(name);
      const reason = disk ? findUse(disk.name) : `this machine has no disk '${name}'`;
      if (!disk || reason !== undefined) throw new RehostError('SNAPSHOT_REFUSED', `No snapshot: ${reason}.`);
      claims.push(claim(name, disk));
    }
    return claims;
  } catch (error) {
    release(claims);
    throw error;
  }
}

function offlineSnapshot(claims: Claim[]): Snapshot {
  return {
    provider: 'offline',
    timestamp: new Date().toISOString(),
    disks: claims.map(({ disk, path, sizeBytes, identity }) => ({ disk, path, sizeBytes, identity })),
    open(disk) {
      const found = claims.find((candidate) => candidate.disk === disk);
      if (!found) throw new RehostError('NOT_FOUND', `The snapshot has no disk '${disk}' or was released.`);
      return BlockDevice.open(found.path, { write: false, direct: true });
    },
    release() {
      release(claims);
      return Promise.resolve();
    },
  };
}

/** Opens the disk for reading and claims it: the kernel refuses this while the disk or a partition of it is mounted or held. */
function claim(disk: string, { name, serial }: BlockDisk): Claim {
  const path = devicePath(name);
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_EXCL);
  } catch (cause) {
    const busy = (cause as NodeJS.ErrnoException).code === 'EBUSY';
    const why = busy ? 'something on this machine or another job holds it' : (cause as Error).message;
    throw new RehostError('SNAPSHOT_REFUSED', `No snapshot: disk '${name}' cannot be claimed (${why}).`, { cause });
  }
  try {
    return { disk, path, ...identityAt(path, serial), fd };
  } catch (cause) {
    closeSync(fd);
    throw new RehostError('SOURCE_READ_FAILED', `Disk '${name}' cannot be read: ${(cause as Error).message}.`, {
      cause,
    });
  }
}

function release(claims: Claim[]): void {
  for (const { fd } of claims.splice(0)) closeSync(fd);
}
