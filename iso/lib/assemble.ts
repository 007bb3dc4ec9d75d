/** Unpacked packages become a kernel and the part of an initial RAM disk that does not depend on our own program. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { compress } from './compress.ts';
import { writeCpio } from './cpio.ts';
import { ImageError } from './errors.ts';
import { addKernelModules } from './kernel-modules.ts';
import { addProgram } from './package-root.ts';
import type { BaseName, PackageBase, Recipe } from './recipe.ts';
import { addRuntime } from './runtime.ts';
import { Tree } from './tree.ts';

export interface Assembly {
  readonly vmlinuz: Buffer;
  /** Compressed archives in a row; more may follow. */
  readonly archives: Buffer;
  readonly kernelRelease: string;
  /** Content of all files that the kernel unpacks into memory, bytes. */
  readonly unpackedBytes: number;
}

interface Ingredients {
  readonly recipe: Recipe;
  readonly baseName: BaseName;
  readonly base: PackageBase;
  readonly repository: string;
  readonly cache: string;
  readonly log: (line: string) => void;
}

/** Unpacks the packages and picks what the recipe names. Throws ImageError when something of its list is missing. */
export async function assemble(ingredients: Ingredients): Promise<Assembly> {
  const { recipe, baseName, base, repository, cache, log } = ingredients;
  const scratch = mkdtempSync(join(cache, 'work-'));
  try {
    const root = join(scratch, 'root');
    mkdirSync(root);
    await base.unpack(recipe.lists[baseName], root);
    const kernel = findKernel(root);
    const runtime = new Tree();
    addRuntime(root, runtime, baseName, repository);
    const system = new Tree();
    // So that both trees agree on what is a link: /bin, /lib.
    for (const [path, entry] of runtime.sorted()) if (entry.kind === 'link') system.add(path, entry);
    for (const name of recipe.programs) addProgram(root, system, name);
    await addKernelModules(root, system, kernel.release, recipe.modules, scratch);

    // Two archives: what all images share is compressed once for all of them.
    const trees = [runtime, system.beyond(runtime)];
    const unpackedBytes = trees.reduce((sum, tree) => sum + tree.bytes, 0);
    log(`${recipe.name}: compressing ${Math.round(unpackedBytes / 1e6)} MB`);
    const archives = Buffer.concat(await Promise.all(trees.map((tree) => compress(cache, writeCpio(tree)))));
    const vmlinuz = readFileSync(join(root, kernel.path));
    return { vmlinuz, archives, kernelRelease: kernel.release, unpackedBytes };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function findKernel(root: string): { path: string; release: string } {
  const kernels = readdirSync(join(root, 'boot')).filter((file) => file.startsWith('vmlinuz'));
  const modules = join(root, 'lib/modules');
  const releases = existsSync(modules) ? readdirSync(modules) : [];
  const [kernel] = kernels;
  const [release] = releases;
  if (kernel === undefined || release === undefined || kernels.length > 1 || releases.length > 1) {
    throw new ImageError(`The packages bring ${kernels.length} kernels, not one.`, "Correct the image's list.");
  }
  return { path: `boot/${kernel}`, release };
}
