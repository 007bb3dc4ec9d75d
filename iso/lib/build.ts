/** Builds an image, or hands out the one that was built of the same inputs. */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { agent } from '../agent/image.ts';
import { transfer } from '../transfer/image.ts';
import { openAlpine } from './alpine.ts';
import { assemble } from './assemble.ts';
import { addBundle, entryFiles } from './bundle.ts';
import { hashOf, locked, readIfThere, writeWhole } from './cache.ts';
import { writeCpio } from './cpio.ts';
import { openDebian } from './debian.ts';
import type { FileFacts, ImageFacts } from './image-facts.ts';
import { addOverlay } from './overlay.ts';
import type { BaseName, PackageBase, Recipe } from './recipe.ts';
import { runtimeInputs } from './runtime.ts';
import { Tree } from './tree.ts';

const RECIPES = { transfer, agent } as const satisfies Record<string, Recipe>;
export type ImageName = keyof typeof RECIPES;
export const IMAGE_NAMES: readonly ImageName[] = ['transfer', 'agent'];
const FILES = ['vmlinuz', 'initrd', 'image.json'] as const;
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
  /** False when the finished image was in the cache. */
  readonly built: boolean;
}

/**
 * Builds the image, or takes it from the cache when nothing that it is made of has changed: bundle, overlay files, lists,
 * the code of the recipe, Node and koffi, and the packages as apt or apk resolves them now. Throws ImageError.
 */
export function buildImage(name: ImageName, options: BuildOptions): Promise<BuiltImage> {
  const { cache, base: baseName } = options;
  const log = options.log ?? ((): void => undefined);
  return locked(cache, async () => {
    const recipe: Recipe = RECIPES[name];
    const base = await openBase(options, log);
    const packages = await base.resolve(recipe.lists[baseName]);
    const program = await programTree(recipe, options.entries);
    const key = hashOf(
      baseName,
      JSON.stringify(packages),
      writeCpio(program),
      ...recipeSources(name),
      ...runtimeInputs(repository),
    );
    const kept = join(cache, 'images', key);
    const found = await readKept(kept);
    if (found !== null) return { ...(await handOut(found, join(options.out, name))), built: false };

    log(`${name}: unpacking ${packages.length} packages`);
    const made = await assemble({ recipe, baseName, base, program, repository, cache, log });
    const facts: ImageFacts = {
      name,
      base: baseName,
      key,
      kernelRelease: made.kernelRelease,
      vmlinuz: fileFacts(made.vmlinuz),
      initrd: fileFacts(made.initrd),
      totalBytes: made.vmlinuz.length + made.initrd.length,
      budgetBytes: recipe.budgetBytes,
      unpackedBytes: made.unpackedBytes,
      packages: packages.map((entry) => ({ name: entry.name, version: entry.version })),
    };
    const image = {
      vmlinuz: made.vmlinuz,
      initrd: made.initrd,
      'image.json': Buffer.from(`${JSON.stringify(facts, null, 2)}\n`),
    };
    await writeFiles(kept, image);
    return { ...(await handOut(image, join(options.out, name))), built: true };
  });
}

type Image = Readonly<Record<(typeof FILES)[number], Buffer>>;

function openBase(options: BuildOptions, log: (line: string) => void): Promise<PackageBase> {
  const { cache, refresh = false } = options;
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

/** An image of the cache, or null when it is not there whole and as it was written. */
async function readKept(folder: string): Promise<Image | null> {
  const [vmlinuz, initrd, json] = await Promise.all(FILES.map((file) => readIfThere(join(folder, file))));
  if (!vmlinuz || !initrd || !json) return null;
  const facts = JSON.parse(json.toString()) as ImageFacts;
  const same = [facts.vmlinuz, facts.initrd].every(
    ({ sha256 }, at) => sha256 === fileFacts(at === 0 ? vmlinuz : initrd).sha256,
  );
  return same ? { vmlinuz, initrd, 'image.json': json } : null;
}

/** Each file is replaced as a whole: a machine that boots from the folder meanwhile reads the old one to its end. */
async function writeFiles(folder: string, image: Image): Promise<void> {
  mkdirSync(folder, { recursive: true });
  for (const file of FILES) await writeWhole(join(folder, file), image[file]);
}

async function handOut(image: Image, folder: string): Promise<Omit<BuiltImage, 'built'>> {
  await writeFiles(folder, image);
  const facts = JSON.parse(image['image.json'].toString()) as ImageFacts;
  return { vmlinuz: join(folder, 'vmlinuz'), initrd: join(folder, 'initrd'), facts };
}
