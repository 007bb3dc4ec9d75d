/** What the conversion has mounted: in one list, so that everything is unmounted in all cases, last first. */
import { setTimeout as sleep } from 'node:timers/promises';
import { RehostError } from '../../appliance/api/errors.ts';
import { run, runChecked } from './run.ts';
import type { GuestVolume } from './step.ts';

/** How one volume is mounted; a host without a kernel driver for a file system brings its own. */
export type MountVolume = (volume: GuestVolume, point: string, mode: MountMode) => Promise<void>;

export interface MountMode {
  writable: boolean;
  /** btrfs: the subvolume, without a leading slash; the file system's default one when empty. */
  subvolume?: string;
}

/** A mount replays a journal, which takes long on a slow disk. */
const MOUNT_TIMEOUT_MS = 5 * 60_000;
/** umount writes back what is dirty. */
const UNMOUNT_TIMEOUT_MS = 10 * 60_000;
/** A mount stays busy for an instant after a program of the guest has died. */
const UNMOUNT_TRIES = 10;
const UNMOUNT_PAUSE_MS = 500;

/** The kernel's own mount: never runs or believes anything that the guest left (no set-id, no devices, no programs). */
export const mountWithKernel: MountVolume = async (volume, point, mode) => {
  const options = [mode.writable ? 'rw' : 'ro', 'nosuid', 'nodev', 'noexec'];
  if (mode.subvolume) options.push(`subvol=${mode.subvolume}`);
  const argv = ['-t', volume.fileSystem, '-o', options.join(','), volume.device, point];
  await runChecked('mount', argv, { timeoutMs: MOUNT_TIMEOUT_MS });
};

/** The mounts of one conversion. Not cancellable: what is half mounted could not be undone with certainty. */
export class Mounts {
  readonly #mountVolume: MountVolume;
  readonly #points: string[] = [];

  constructor(mountVolume: MountVolume) {
    this.#mountVolume = mountVolume;
  }

  /** Mounts a volume on an existing folder without symlinks in its path. Throws what its MountVolume throws. */
  async mount(volume: GuestVolume, point: string, mode: MountMode): Promise<void> {
    await this.#mountVolume(volume, point, mode);
    this.#points.push(point);
  }

  /** Unmounts the mount made last. Never lazily: data would be written back at an unknown time. Throws CONVERSION_FAILED. */
  async unmountLast(): Promise<void> {
    const point = this.#points.at(-1);
    if (point === undefined) return;
    await unmount(point);
    this.#points.pop();
  }

  /** Unmounts everything, last first. Throws CONVERSION_FAILED at the first that stays busy. */
  async unmountAll(): Promise<void> {
    while (this.#points.length > 0) await this.unmountLast();
  }
}

async function unmount(point: string): Promise<void> {
  let words = '';
  for (let attempt = 0; attempt < UNMOUNT_TRIES; attempt += 1) {
    const result = await run('umount', [point], { timeoutMs: UNMOUNT_TIMEOUT_MS });
    if (result.code === 0) return;
    words = result.stderr.trim();
    await sleep(UNMOUNT_PAUSE_MS);
  }
  throw new RehostError('CONVERSION_FAILED', `${point} could not be unmounted: ${words}`);
}

/** Writes everything back and empties the buffers of these devices, so that the next reader sees the disk itself. */
export async function flushDevices(devices: readonly string[]): Promise<void> {
  await runChecked('sync', [], { timeoutMs: UNMOUNT_TIMEOUT_MS });
  for (const device of devices) {
    await runChecked('blockdev', ['--flushbufs', device], { timeoutMs: UNMOUNT_TIMEOUT_MS });
  }
}
