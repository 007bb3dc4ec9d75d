import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ImageError } from './errors.ts';
import type { Tree } from './tree.ts';

/** Adds the files of a folder at the paths that they have below it. Only the owner's execute bit of a file's mode counts. */
export function addOverlay(tree: Tree, folder: string): void {
  for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()) {
    const stat = lstatSync(join(folder, path));
    if (stat.isDirectory()) continue;
    if (!stat.isFile()) throw new ImageError(`${join(folder, path)} is not a file.`, 'Overlays hold files only.');
    const data = readFileSync(join(folder, path));
    tree.add(path, { kind: 'file', data, executable: (stat.mode & 0o100) !== 0 });
  }
}
