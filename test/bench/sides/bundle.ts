/** The two sides as they are in the images: bundled, without type annotations to be stripped when a thread starts. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { addBundle, entryFiles } from '../../../iso/lib/bundle.ts';
import { Tree } from '../../../iso/lib/tree.ts';

const repository = fileURLToPath(new URL('../../..', import.meta.url));
const SIDES = {
  source: { program: 'agent', entries: ['source-process.ts', 'plain-worker.ts'] },
  sink: { program: 'receiver', entries: ['sink-process.ts'] },
};

/** Bundles both sides and writes them below `out`; returns their programs. */
export async function bundleSides(): Promise<{ source: string; sink: string }> {
  return { source: await bundle('source'), sink: await bundle('sink') };
}

async function bundle(side: 'source' | 'sink'): Promise<string> {
  const { program, entries } = SIDES[side];
  const workers = entryFiles(join(repository, program)).filter((path) => path.endsWith('-worker.ts'));
  const tree = new Tree();
  await addBundle(tree, repository, [...workers, ...entries.map((name) => join(import.meta.dirname, name))]);
  const folder = join(repository, 'out', 'bench', 'sides', side);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const [path, entry] of tree.sorted()) {
    if (entry.kind === 'file') writeFileSync(join(folder, basename(path)), entry.data);
  }
  return join(folder, `${side}-process.mjs`);
}
