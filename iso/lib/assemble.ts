/** Unpacked packages and a program become a kernel and an initial RAM disk. */
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
  readonly initrd: Buffer;
  readonly kernelRelease: string;
  /** Content of all files that the kernel unpacks into memory, bytes. */
  readonly unpackedBytes: number;
}

interface Ingredients {
  readonly recipe: Recipe;
  readonly baseName: BaseName;
  readonly base: PackageBase;
  /** Bundle and overlay files. */
  readonly program: Tree;
  readonly repository: string;
  readonly cache: string;
  readonly log: (line: string) => void;
}

/** Makes the image's two files. Throws ImageError when something of the list is missing or they are larger than the budget. */
export async function assemble(ingredients: Ingredients): Promise<Assembly> {
  const { recipe, baseName, base, program, repository, cache, log } = ingredients;
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

    // Three archives in a row, which the kernel unpacks one after the other. What all images share is compressed once for
    // all of them, and a changed program is compressed alone.
    const trees = [runtime, system.beyond(runtime), program];
    const unpackedBytes = trees.reduce((sum, tree) => sum + tree.bytes, 0);
    log(`${recipe.name}: compressing ${Math.round(unpackedBytes / 1e6)} MB`);
    const initrd = Buffer.concat(await Promise.all(trees.map((tree) => compress(cache, writeCpio(tree)))));
    const vmlinuz = readFileSync(join(root, kernel.path));
    const bytes = vmlinuz.length + initrd.length;
    if (bytes > recipe.budgetBytes) {
      throw new ImageError(
        `The ${recipe.name} image takes ${bytes} bytes; its limit is ${recipe.budgetBytes}.`,
        "Take something off the image's list.",
      );
    }
    return { vmlinuz, initrd, kernelRelease: kernel.release, unpackedBytes };
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
