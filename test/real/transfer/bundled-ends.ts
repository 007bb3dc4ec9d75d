/** The processes of both ends as they are in the images: bundled, so that no thread strips type annotations when it starts. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { addBundle, entryFiles } from '../../../iso/lib/bundle.ts';
import { Tree } from '../../../iso/lib/tree.ts';
import type { Lab } from './transfer-lab.ts';

const repository = join(import.meta.dirname, '../../..');

/** Bundles both into a folder of the repository, where their native packages are found; it is removed with the lab. */
export async function bundleEnds(lab: Lab): Promise<{ source: string; sink: string }> {
  const out = join(repository, 'out');
  mkdirSync(out, { recursive: true });
  const folder = mkdtempSync(join(out, 'ends-'));
  lab.later(() => rmSync(folder, { recursive: true, force: true }));
  for (const [program, entry] of [
    ['agent', 'source-process.ts'],
    ['receiver', 'sink-process.ts'],
  ] as const) {
    const workers = entryFiles(join(repository, program)).filter((path) => path.endsWith('-worker.ts'));
    const tree = new Tree();
    await addBundle(tree, repository, [...workers, join(import.meta.dirname, entry)]);
    mkdirSync(join(folder, program));
    for (const [path, file] of tree.sorted()) {
      if (file.kind === 'file') writeFileSync(join(folder, program, basename(path)), file.data);
    }
  }
  return { source: join(folder, 'agent', 'source-process.mjs'), sink: join(folder, 'receiver', 'sink-process.mjs') };
}
