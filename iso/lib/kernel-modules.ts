/** Picks kernel modules by name or folder, with what they depend on, and makes the indexes that modprobe reads. */
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { readModuleInfo } from './elf.ts';
import { ImageError } from './errors.ts';
import { run } from './run.ts';
import type { Tree } from './tree.ts';

const MODULE_FILE = /\.ko(\.xz|\.zst|\.gz)?$/;
/** The text indexes; BusyBox's modprobe reads no others. */
const INDEXES = ['modules.dep', 'modules.alias', 'modules.symbols', 'modules.softdep', 'modules.builtin'];
/** What depmod reads beside the modules themselves. */
const DEPMOD_INPUTS = ['modules.order', 'modules.builtin', 'modules.builtin.modinfo'];

/** Adds the modules of `list` (see Recipe.modules) for the kernel `release` to the tree. `scratch` is a folder to work in. */
export async function addKernelModules(
  root: string,
  tree: Tree,
  release: string,
  list: readonly string[],
  scratch: string,
): Promise<void> {
  const from = join(root, 'lib/modules', release);
  // Where /lib is a link into /usr, it is one in the image too.
  const into = `${lstatSync(join(root, 'lib')).isSymbolicLink() ? 'usr/' : ''}lib/modules/${release}`;
  const staging = mkdtempSync(join(scratch, 'modules-'));
  try {
    const target = join(staging, 'lib/modules', release);
    const known = index(from);
    const picked = await stage(from, target, known, wanted(from, known, list));
    for (const file of DEPMOD_INPUTS.filter((name) => existsSync(join(from, name)))) {
      copyFileSync(join(from, file), join(target, file));
    }
    await run('depmod', ['-b', staging, release]);
    for (const path of [...picked, ...INDEXES]) {
      const data = readFileSync(join(target, path));
      tree.add(`${into}/${path}`, { kind: 'file', data, executable: false });
    }
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

/** Module name -> path relative to the modules' folder. */
function index(from: string): Map<string, string> {
  const known = new Map<string, string>();
  for (const entry of readdirSync(join(from, 'kernel'), { recursive: true, encoding: 'utf8' })) {
    if (MODULE_FILE.test(entry)) known.set(moduleName(entry), `kernel/${entry}`);
  }
  return known;
}

/** The kernel takes `-` and `_` in module names for the same. */
function moduleName(path: string): string {
  return basename(path).replace(MODULE_FILE, '').replaceAll('-', '_');
}

function wanted(from: string, known: Map<string, string>, list: readonly string[]): string[] {
  const builtin = new Set(readFileSync(join(from, 'modules.builtin'), 'utf8').split('\n').map(moduleName));
  const names: string[] = [];
  for (const item of list) {
    if (item.endsWith('/')) {
      const inFolder = [...known].filter(([, path]) => path.startsWith(`kernel/${item}`)).map(([name]) => name);
      if (inFolder.length === 0) throw unknown(item);
      names.push(...inFolder);
    } else {
      const name = moduleName(item.replace(/\?$/, ''));
      if (known.has(name)) names.push(name);
      else if (!builtin.has(name) && !item.endsWith('?')) throw unknown(item);
    }
  }
  return names;
}

function unknown(item: string): ImageError {
  return new ImageError(`The kernel has no module ${item}.`, "Correct the image's list of modules.");
}

/** Copies the named modules and all that they depend on, unpacked. Answers their paths relative to `target`, sorted. */
async function stage(from: string, target: string, known: Map<string, string>, names: string[]): Promise<string[]> {
  const done = new Map<string, string>();
  let round = [...new Set(names)];
  // Ends: every round adds modules that were not there before, and there are finitely many.
  while (round.length > 0) {
    const copies: string[] = [];
    for (const name of round) {
      const path = known.get(name);
      if (path === undefined) throw unknown(name);
      const copy = join(target, path);
      mkdirSync(dirname(copy), { recursive: true });
      copyFileSync(join(from, path), copy);
      copies.push(copy);
      done.set(name, path.replace(MODULE_FILE, '.ko'));
    }
    await unpack(copies);
    const next = round.flatMap((name) => dependencies(join(target, done.get(name) ?? ''), known));
    round = [...new Set(next)].filter((name) => !done.has(name));
  }
  return [...done.values()].sort();
}

async function unpack(files: readonly string[]): Promise<void> {
  const packers = [
    ['.xz', 'xz', ['-d', '--']],
    ['.zst', 'zstd', ['-d', '-q', '--rm', '--']],
    ['.gz', 'gzip', ['-d', '--']],
  ] as const;
  for (const [suffix, program, args] of packers) {
    const packed = files.filter((file) => file.endsWith(suffix));
    if (packed.length > 0) await run(program, [...args, ...packed]);
  }
}

/** What the module needs (`depends`) and would like to have (`softdep`), as far as the kernel brings it as a module. */
function dependencies(file: string, known: Map<string, string>): string[] {
  const names: string[] = [];
  for (const { key, value } of readModuleInfo(readFileSync(file))) {
    if (key === 'depends') names.push(...value.split(',').filter(Boolean).map(moduleName));
    if (key !== 'softdep') continue;
    const soft = value.split(/\s+/).map(moduleName);
    names.push(...soft.filter((name) => known.has(name)));
  }
  return names;
}
