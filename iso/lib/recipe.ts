/** What an image is made of. A recipe is data; every step that reads it stands in this folder and is shared by all images. */

export const BASES = ['debian', 'alpine'] as const;
/** Where packages come from. */
export type BaseName = (typeof BASES)[number];

export interface PackageList {
  /** The package that brings the kernel and its modules. */
  readonly kernel: string;
  readonly packages: readonly string[];
  /**
   * Taken as installed when dependencies are resolved: scripts of packages and programs that no image picks need them,
   * the picked files do not. A file that needs one after all fails the build, because its library is then missing.
   */
  readonly assumed: readonly string[];
}

export interface Recipe {
  readonly name: string;
  /** Kernel and initial RAM disk together may not be larger, bytes. */
  readonly budgetBytes: number;
  /** Folder of the repository whose `main.ts` and `*-worker.ts` files run in the image. */
  readonly program: string;
  readonly lists: Readonly<Record<BaseName, PackageList>>;
  /** Programs by name, with the libraries that they need. */
  readonly programs: readonly string[];
  /**
   * Kernel modules: a name, or a folder below the modules' `kernel/` with a slash at its end. What they depend on comes
   * with them. What is built into the kernel is left out. A name that does not exist fails the build, so that the list
   * cannot rot; with `?` at its end it may be missing (kernels of the bases differ).
   */
  readonly modules: readonly string[];
}

/** One package as the base resolved it. */
export interface ResolvedPackage {
  readonly name: string;
  readonly version: string;
  /** Whatever changes when the package's content changes: its file name, its hash where the index has one. */
  readonly identity: string;
}

/** A source of packages. */
export interface PackageBase {
  /** The packages with all that they depend on, in a fixed order. */
  resolve(list: PackageList): Promise<ResolvedPackage[]>;
  /** Downloads, checks and unpacks them into the empty folder `root`. No script of a package runs. */
  unpack(list: PackageList, root: string): Promise<void>;
}
