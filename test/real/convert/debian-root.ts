/** A Debian root as a tar file, made by mmdebstrap and kept in the cache: for guests that the lab's source disks do not cover. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { machineMirrors } from '../../../iso/lib/debian-mirror.ts';
import { onExit } from '../../lab/cleanup.ts';
import { run } from '../../lab/command.ts';

const BUILD_LIMIT_MS = 30 * 60_000;

export interface RootRecipe {
  suite: 'bookworm' | 'trixie';
  packages: readonly string[];
  /** Files of initramfs-tools' conf.d, written before the kernel's package makes its image: name -> line. */
  initramfsSettings: Record<string, string>;
}

/** Path of the tar file; built when the cache has none (root; one or two minutes). */
export async function debianRoot(recipe: RootRecipe): Promise<string> {
  const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'rehost', 'convert-roots');
  const path = join(cache, `${createHash('sha256').update(JSON.stringify(recipe)).digest('hex').slice(0, 16)}.tar`);
  if (existsSync(path)) return path;
  await mkdir(cache, { recursive: true });
  const building = `${path}.build-${process.pid}.tar`;
  const remove = onExit(`build of ${path}`, () => rm(building, { force: true }));
  const settings = Object.entries(recipe.initramfsSettings).map(
    ([name, line]) =>
      `--essential-hook=mkdir -p "$1/etc/initramfs-tools/conf.d" && echo '${line}' > "$1/etc/initramfs-tools/conf.d/${name}"`,
  );
  try {
    const { main } = await machineMirrors();
    const include = `--include=${recipe.packages.join(',')}`;
    await run(
      [
        'mmdebstrap',
        '--mode=root',
        '--variant=minbase',
        include,
        ...settings,
        recipe.suite,
        building,
        `deb ${main} ${recipe.suite} main`,
      ],
      {
        timeoutMs: BUILD_LIMIT_MS,
      },
    );
    await run(['sync', building]);
    await rename(building, path);
  } finally {
    await remove();
  }
  return path;
}
