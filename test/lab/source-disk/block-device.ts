/** Loop devices, mounts and the chroot of the disk builder. Each answers the function that undoes it, also run when the process is ended. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { onExit } from '../cleanup.ts';
import { run } from '../command.ts';

export interface LoopDevice {
  /** Path of the whole disk's device. */
  device: string;
  /** Path of partition N's device. */
  partition(number: number): string;
  detach(): Promise<void>;
}

/** Attaches a raw disk image with its partitions. partx tells the kernel of them, because a kernel need not know GPT itself. */
export async function attachLoop(diskPath: string): Promise<LoopDevice> {
  const device = (await run(['losetup', '--find', '--show', '--partscan', diskPath])).trim();
  const detach = onExit(`loop device ${device}`, async () => {
    await run(['losetup', '--detach', device]);
  });
  try {
    // The kernel keeps a read-only mark of the loop device's earlier user: an agent, for example.
    await run(['blockdev', '--setrw', device]);
    await run(['partx', '--update', device]);
  } catch (error) {
    await detach();
    throw error;
  }
  return { device, partition: (number) => `${device}p${number}`, detach };
}

/** Mounts; `argv` is what follows `mount`, the last one being the mount point, which is made. */
export async function mount(...argv: string[]): Promise<() => Promise<void>> {
  const point = argv.at(-1) ?? '';
  await mkdir(point, { recursive: true });
  await run(['mount', ...argv]);
  return onExit(`mount ${point}`, async () => {
    await run(['umount', point]);
  });
}

export type Chroot = (argv: readonly string[], timeoutMs?: number) => Promise<string>;

/**
 * Runs `work` with /proc, /sys and a /dev of its own mounted under `root`. The /dev holds the usual character devices and the
 * given block devices only, so that nothing in there can touch another disk of this host.
 */
export async function withChroot<T>(
  root: string,
  blockDevices: readonly string[],
  work: (chroot: Chroot) => Promise<T>,
): Promise<T> {
  const undo: (() => Promise<void>)[] = [];
  try {
    undo.push(await mount('-t', 'proc', 'proc', join(root, 'proc')));
    undo.push(await mount('-t', 'sysfs', '-o', 'ro', 'sysfs', join(root, 'sys')));
    undo.push(await mount('-t', 'tmpfs', '-o', 'mode=755', 'dev', join(root, 'dev')));
    for (const path of ['/dev/null', '/dev/zero', '/dev/full', '/dev/random', '/dev/urandom', ...blockDevices])
      await run(['cp', '--archive', path, join(root, path)]);
    return await work((argv, timeoutMs = 300_000) =>
      run(['chroot', root, ...argv], {
        timeoutMs,
        env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', DEBIAN_FRONTEND: 'noninteractive' },
      }),
    );
  } finally {
    for (const step of undo.reverse()) await step();
  }
}
