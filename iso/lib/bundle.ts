/** Bundles a program of the repository flat into one folder: main.mjs and one .mjs per worker. */
import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { build } from 'esbuild';
import { ImageError } from './errors.ts';
import type { Tree } from './tree.ts';

/** Bundled CommonJS code asks for Node's own modules through `require`, which an ES module does not have. */
const REQUIRE_BANNER =
  "import { createRequire as rehostRequire } from 'node:module'; const require = rehostRequire(import.meta.url);";

/** The program's entry files: `main.ts` of the folder and every `*-worker.ts` below it. Two may not have the same name. */
export function entryFiles(folder: string): string[] {
  const workers = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('-worker.ts'))
    .sort()
    .map((path) => join(folder, path));
  const names = workers.map((path) => basename(path));
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined) {
    throw new ImageError(`Two workers are named ${twice}; in the image they share one folder.`, 'Rename one of them.');
  }
  return [join(folder, 'main.ts'), ...workers];
}

/** Bundles `entries` for the pinned Node into `usr/lib/rehost` of the tree. koffi stays outside: its binary is found by its own files. */
export async function addBundle(tree: Tree, repository: string, entries: readonly string[]): Promise<void> {
  const outdir = join(repository, 'out');
  const result = await build({
    absWorkingDir: repository,
    entryPoints: entries.map((entry) => ({ in: entry, out: basename(entry, '.ts') })),
    outdir,
    outExtension: { '.js': '.mjs' },
    write: false,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    external: ['koffi', 'bufferutil', 'utf-8-validate'],
    banner: { js: REQUIRE_BANNER },
    legalComments: 'none',
    logLevel: 'silent',
  }).catch((error: unknown) => {
    const message = error instanceof Error ? error.message : String(error);
    throw new ImageError(`esbuild: ${message}`, 'Correct the named source file.', error);
  });
  for (const file of result.outputFiles) {
    tree.add(`usr/lib/rehost/${basename(file.path)}`, {
      kind: 'file',
      data: Buffer.from(file.contents),
      executable: false,
    });
  }
}
