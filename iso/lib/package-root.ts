/** The unpacked packages: a root file system that nothing ever ran in, and how files get from it into an image. */
import { lstatSync, readFileSync, readlinkSync } from 'node:fs';
import { dirname, join, resolve as resolvePath } from 'node:path';
import { isElf, readDynamic } from './elf.ts';
import { ImageError } from './errors.ts';
import type { Tree } from './tree.ts';

const PROGRAM_FOLDERS = ['usr/sbin', 'usr/bin', 'sbin', 'bin'];
/** Where glibc (Debian) and musl (Alpine) look for libraries without being told. */
const LIBRARY_FOLDERS = ['usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu', 'usr/lib', 'lib', 'usr/local/lib'];
/** Symbolic links followed for one path; the kernel's own limit. */
const LINKS_MAX = 40;

/** Copies the file at `path` with every symbolic link on the way to it, and what it links to. Answers its final path and content. */
function addFile(root: string, tree: Tree, path: string): { path: string; data: Buffer } {
  let waiting = path.split('/');
  let done = '';
  for (let links = 0; ; ) {
    const part = waiting.shift();
    if (part === undefined) break;
    const here = done === '' ? part : `${done}/${part}`;
    const stat = lstatSync(join(root, here));
    if (stat.isSymbolicLink()) {
      if (++links > LINKS_MAX) throw new ImageError(`${path} has too many symbolic links.`, 'Remove the cache folder.');
      const target = readlinkSync(join(root, here));
      tree.add(here, { kind: 'link', target });
      // Resolved as if `root` were the root; `resolve` also keeps `..` from leaving it.
      waiting = [...resolvePath('/', done, target).split('/').filter(Boolean), ...waiting];
      done = '';
    } else {
      done = here;
    }
  }
  const stat = lstatSync(join(root, done));
  if (!stat.isFile()) throw new ImageError(`${path} is not a file in the packages.`, "Correct the image's list.");
  const data = readFileSync(join(root, done));
  tree.add(done, { kind: 'file', data, executable: (stat.mode & 0o111) !== 0 });
  return { path: done, data };
}

function exists(root: string, path: string): boolean {
  // statSync would follow absolute links out of the unpacked root.
  return lstatSync(join(root, path), { throwIfNoEntry: false }) !== undefined;
}

/** Adds a program by its name, with the loader and every library that it needs. Answers its path as an absolute one. */
export function addProgram(root: string, tree: Tree, name: string): string {
  const path = PROGRAM_FOLDERS.map((folder) => `${folder}/${name}`).find((candidate) => exists(root, candidate));
  if (path === undefined) {
    throw new ImageError(`No package brings the program ${name}.`, "Add its package to the image's list.");
  }
  const file = addFile(root, tree, path);
  addLibrariesOf(root, tree, file.path, file.data);
  return `/${path}`;
}

/** Adds a library by its soname, with what it needs. */
export function addLibrary(root: string, tree: Tree, soname: string, searchFirst: readonly string[] = []): void {
  const folders = [...searchFirst, ...LIBRARY_FOLDERS];
  const path = folders.map((folder) => `${folder}/${soname}`).find((candidate) => exists(root, candidate));
  if (path === undefined) {
    throw new ImageError(`No package brings the library ${soname}.`, "Add its package to the image's list.");
  }
  if (tree.has(path)) return;
  const file = addFile(root, tree, path);
  addLibrariesOf(root, tree, file.path, file.data);
}

/** Adds the loader and the libraries that an ELF file needs, wherever the file itself comes from. Other files need none. */
export function addLibrariesOf(root: string, tree: Tree, path: string, data: Buffer): void {
  if (!isElf(data)) return;
  const { interpreter, needed, searchPath } = readDynamic(data);
  if (interpreter !== null) addFile(root, tree, interpreter.replace(/^\/+/, ''));
  const folders = searchPath.map((entry) =>
    resolvePath('/', entry.replace(/\$\{?ORIGIN\}?/, `/${dirname(path)}`)).slice(1),
  );
  for (const soname of needed) addLibrary(root, tree, soname, folders);
}
