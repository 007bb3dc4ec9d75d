/** Builds an image of a recipe: the one entry of this folder. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { agent } from '../agent/image.ts';
import { transfer } from '../transfer/image.ts';
import { openAlpine } from './alpine.ts';
import { assemble } from './assemble.ts';
import { addBundle, entryFiles } from './bundle.ts';
import { forgetUnused, hashOf, locked, writeWhole } from './cache.ts';
import { compress } from './compress.ts';
import { writeCpio } from './cpio.ts';
import { openDebian } from './debian.ts';
import { ImageError } from './errors.ts';
import type { FileFacts, ImageFacts } from './image-facts.ts';
import { keep, readKept } from './kept.ts';
import { addOverlay } from './overlay.ts';
import type { BaseName, PackageBase, Recipe } from './recipe.ts';
import { runtimeInputs } from './runtime.ts';
import { Tree } from './tree.ts';

const RECIPES = { transfer, agent } as const satisfies Record<string, Recipe>;
export type ImageName = keyof typeof RECIPES;
export const IMAGE_NAMES: readonly ImageName[] = ['transfer', 'agent'];
const repository = join(import.meta.dirname, '../..');

export interface BuildOptions {
  /** Where packages come from. */
  readonly base: BaseName;
  /** Folder that is kept between builds; see cacheFolder. */
  readonly cache: string;
  /** The image goes to `<out>/<name>/`: vmlinuz, initrd, image.json. */
  readonly out: string;
  /** Ask the mirror for new package lists even if those at hand are fresh. */
  readonly refresh?: boolean;
  /** For `alpine`: the mirror's URL and the file of its public key. */
  readonly alpine?: { readonly mirror: string | undefined; readonly key: string | undefined };
  /** Entry files to bundle instead of the recipe's own program. The one named main.ts is what init starts. */
  readonly entries?: readonly string[];
  readonly log?: (line: string) => void;
}

export interface BuiltImage {
  /** Absolute if `out` is. */
  readonly vmlinuz: string;
  readonly initrd: string;
  readonly facts: ImageFacts;
  /** False when all but the program was in the cache. */
  readonly built: boolean;
}

/**
 * Builds the image. What it takes from packages comes from the cache when none of its inputs changed: lists, the recipe's
 * code, Node and koffi, and the packages as apt or apk resolves them now. The program is bundled anew each time and follows
 * as an archive of its own. Throws ImageError, also when the image is larger than its budget.
 */
export function buildImage(name: ImageName, options: BuildOptions): Promise<BuiltImage> {
  const { base: baseName } = options;
  const cache = join(options.cache, 'images');
  const log = options.log ?? ((): void => undefined);
  return locked(cache, async () => {
    const recipe: Recipe = RECIPES[name];
    const base = await openBase(options, cache, log);
    const packages = await base.resolve(recipe.lists[baseName]);
    const inputs = [JSON.stringify(packages), ...recipeSources(name), ...runtimeInputs(repository)];
    const key = hashOf(baseName, ...inputs);
    const kept = await readKept(cache, key);
    if (kept === null) log(`${name}: unpacking ${packages.length} packages`);
    const assembly = kept ?? (await assemble({ recipe, baseName, base, repository, cache, log }));
    if (kept === null) await keep(cache, key, assembly);

    const program = await programTree(recipe, options.entries);
    const archive = writeCpio(program);
    const initrd = Buffer.concat([assembly.archives, await compress(cache, archive)]);
    const facts: ImageFacts = {
      name,
      base: baseName,
      key: hashOf(key, archive),
      kernelRelease: assembly.kernelRelease,
      vmlinuz: fileFacts(assembly.vmlinuz),
      initrd: fileFacts(initrd),
      totalBytes: assembly.vmlinuz.length + initrd.length,
      budgetBytes: recipe.budgetBytes,
      unpackedBytes: assembly.unpackedBytes + program.bytes,
      packages: packages.map((entry) => ({ name: entry.name, version: entry.version })),
    };
    checkBudget(facts);
    const folder = join(options.out, name);
    const files = { vmlinuz: join(folder, 'vmlinuz'), initrd: join(folder, 'initrd') };
    // Each file is replaced as a whole: a machine that boots from the folder meanwhile reads the old one to its end.
    await writeWhole(files.vmlinuz, assembly.vmlinuz);
    await writeWhole(files.initrd, initrd);
    await writeWhole(join(folder, 'image.json'), `${JSON.stringify(facts, null, 2)}\n`);
    await forgetUnused(cache);
    return { ...files, facts, built: kept === null };
  });
}

function checkBudget({ name, totalBytes, budgetBytes }: ImageFacts): void {
  if (totalBytes <= budgetBytes) return;
  throw new ImageError(
    `The ${name} image takes ${totalBytes} bytes; its limit is ${budgetBytes}.`,
    "Take something off the image's list.",
  );
}

function openBase(options: BuildOptions, cache: string, log: (line: string) => void): Promise<PackageBase> {
  const { refresh = false } = options;
  if (options.base === 'alpine') return openAlpine({ cache, mirror: options.alpine?.mirror, key: options.alpine?.key });
  return openDebian({ cache, refresh, log });
}

/** The part that changes most often and is smallest: the program and the overlay files. */
async function programTree(recipe: Recipe, entries: readonly string[] | undefined): Promise<Tree> {
  const tree = new Tree();
  await addBundle(tree, repository, entries ?? entryFiles(join(repository, recipe.program)));
  addOverlay(tree, join(import.meta.dirname, 'overlay'));
  addOverlay(tree, join(import.meta.dirname, '..', recipe.name, 'overlay'));
  return tree;
}

/** The code and lists that make the image; the overlay files are in the program's tree. */
function recipeSources(name: ImageName): Buffer[] {
  const folders = [import.meta.dirname, join(import.meta.dirname, '..', name)];
  return folders.flatMap((folder) =>
    readdirSync(folder)
      .filter((file) => file.endsWith('.ts'))
      .sort()
      .map((file) => readFileSync(join(folder, file))),
  );
}

function fileFacts(data: Buffer): FileFacts {
  return { bytes: data.length, sha256: createHash('sha256').update(data).digest('hex') };
}
