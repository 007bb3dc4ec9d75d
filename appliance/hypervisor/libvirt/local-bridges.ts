/** Linux bridges of this process's own network namespace. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** IFF_UP of netdevice(7). */
const IFF_UP = 1;

/** `folder` is /sys/class/net: an interface that has a `bridge` folder is one. */
export async function bridgesIn(folder: string): Promise<{ name: string; active: boolean }[]> {
  const bridges = [];
  for (const name of await readdir(folder)) {
    const entries = await readdir(join(folder, name)).catch(ifGone);
    if (!entries.includes('bridge')) continue;
    const flags = Number.parseInt(await readFile(join(folder, name, 'flags'), 'utf8'), 16);
    bridges.push({ name, active: (flags & IFF_UP) !== 0 });
  }
  return bridges;
}

/** Interfaces come and go; `bonding_masters` is a file among them. */
function ifGone(error: NodeJS.ErrnoException): string[] {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return [];
  throw error;
}
