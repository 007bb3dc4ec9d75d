/** Names of everything a job makes on a hypervisor. The job's id is in each, so that nothing is orphaned; nothing from outside is. */
import type { VolumeRef } from '../hypervisor/driver.ts';
import { volumePrefix } from '../hypervisor/owned.ts';

/** Parts of the names of volumes that are no disk's: preflight refuses a disk of this name. */
export const RESERVED_DISK_NAMES: readonly string[] = ['config', 'journal'];

export function transferVmName(jobId: string): string {
  return `${volumePrefix(jobId)}transfer`;
}

export function configVolume(pool: string, jobId: string): VolumeRef & { format: 'raw' } {
  return { pool, name: `${volumePrefix(jobId)}config.raw`, format: 'raw' };
}

export function journalVolume(pool: string, jobId: string): VolumeRef & { format: 'raw' } {
  return { pool, name: `${volumePrefix(jobId)}journal.raw`, format: 'raw' };
}

export function replicaVolume(pool: string, jobId: string, disk: string): VolumeRef & { format: 'raw' } {
  return { pool, name: `${volumePrefix(jobId)}${disk}.raw`, format: 'raw' };
}

export function overlayVolume(pool: string, jobId: string, disk: string): VolumeRef & { format: 'qcow2' } {
  return { pool, name: `${volumePrefix(jobId)}${disk}.qcow2`, format: 'qcow2' };
}

/** Serial by which the receiver finds a replica or overlay. */
export function diskSerial(kind: 'replica' | 'overlay', disk: string): string {
  return `${kind}-${disk}`;
}

/** Image volumes are shared by all jobs of a pool: named by what they hold. */
export function imageVolume(pool: string, part: 'kernel' | 'initrd', sha256: string): VolumeRef & { format: 'raw' } {
  return { pool, name: `rehost-image-${part}-${sha256.slice(0, 24)}.raw`, format: 'raw' };
}
