/**
 * Builds the disk of a source machine: Debian with a service's data on it, as an ordinary installation would have left it.
 * The result is kept in the cache under the hash of everything that went into it; callers work on a copy.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { Check } from 'typebox/value';
import { run } from './command.ts';
import { buildFolder, removeDeadBuilds, runBuilder } from './source-builds.ts';
import { SourceFacts } from './source-disk/facts.ts';
import type { SourceKind } from './source-disk/layout.ts';

export interface SourceDisk extends SourceFacts {
  /** Raw image of DISK_BYTES in the cache: copy it before a machine runs on it. */
  diskPath: string;
  /** UEFI: variable store with the boot entry, in the cache too. */
  nvramPath?: string;
  /** OpenSSH private key that may log in as root. */
  sshKeyPath: string;
  /** The disk's kernel, for tests that boot one. */
  kernelPath: string;
}

/** The source disk of this kind, from the cache or built now (root; some minutes). `log` gets the builder's steps. */
export async function buildSourceDisk(
  kind: SourceKind,
  options: { log?: (line: string) => void } = {},
): Promise<SourceDisk> {
  const log = options.log ?? (() => undefined);
  const folder = join(cacheFolder(), `${kind}-${await recipeHash()}`);
  const cached = await readBuilt(folder);
  if (cached) return cached;
  await mkdir(cacheFolder(), { recursive: true });
  await removeDeadBuilds(cacheFolder());
  const work = buildFolder(folder);
  await mkdir(work);
  await runBuilder(kind, work, log, () => publish(work, folder));
  const built = await readBuilt(folder);
  if (!built) throw new Error(`The source disk in ${folder} is gone right after it was built.`);
  return built;
}

/** Copies a source disk (and its NVRAM) into `folder`, holes as holes. Answers the paths of the copies. */
export async function copySourceDisk(
  disk: SourceDisk,
  folder: string,
): Promise<{ diskPath: string; nvramPath?: string }> {
  await mkdir(folder, { recursive: true });
  const diskPath = await copyInto(folder, disk.diskPath);
  return disk.nvramPath === undefined ? { diskPath } : { diskPath, nvramPath: await copyInto(folder, disk.nvramPath) };
}

async function copyInto(folder: string, path: string): Promise<string> {
  const target = join(folder, basename(path));
  await run(['cp', '--sparse=always', '--reflink=auto', path, target]);
  return target;
}

function cacheFolder(): string {
  return join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'rehost', 'source-disks');
}

/** Everything that decides the content: these sources. Packages are those of the day of the build. */
async function recipeHash(): Promise<string> {
  const hash = createHash('sha256');
  const folder = join(import.meta.dirname, 'source-disk');
  const names = (await readdir(folder)).sort().map((name) => join(folder, name));
  for (const path of [...names, import.meta.filename]) hash.update(await readFile(path));
  return hash.digest('hex').slice(0, 16);
}

async function readBuilt(folder: string): Promise<SourceDisk | undefined> {
  const path = join(folder, 'facts.json');
  if (!existsSync(path)) return undefined;
  const facts: unknown = JSON.parse(await readFile(path, 'utf8'));
  if (!Check(SourceFacts, facts)) throw new Error(`${path} is damaged: remove its folder.`);
  const file = (name: string): string => join(folder, name);
  const paths = { diskPath: file('disk.raw'), sshKeyPath: file('id_ed25519'), kernelPath: file('vmlinuz') };
  const disk = { ...facts, ...paths };
  return facts.kind === 'uefi' ? { ...disk, nvramPath: file('nvram.fd') } : disk;
}

/** Makes the finished build appear under its name at once. Another process may have been faster: its disk is as good. */
async function publish(work: string, folder: string): Promise<void> {
  for (const name of await readdir(work)) await run(['sync', join(work, name)]);
  try {
    await rename(work, folder);
  } catch (error) {
    if (!existsSync(join(folder, 'facts.json'))) throw error;
  }
}
