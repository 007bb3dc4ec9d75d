/** Removes what a builder that was killed left: half a disk and its loop device. (Its mounts ended with its mount namespace.) */
import { existsSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../command.ts';

/** Builds are folders named `*.build-PID`. One whose process lives is left alone. */
export async function removeStaleBuilds(cacheFolder: string): Promise<void> {
  for (const name of await readdir(cacheFolder)) {
    const pid = /\.build-(\d+)$/.exec(name)?.[1];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    const folder = join(cacheFolder, name);
    const attached = await run([
      'losetup',
      '--noheadings',
      '--output',
      'NAME',
      '--associated',
      join(folder, 'disk.raw'),
    ]);
    for (const device of attached.split('\n').filter(Boolean)) await run(['losetup', '--detach', device.trim()]);
    await rm(folder, { recursive: true, force: true });
  }
}
