import { createHash, randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ImageError } from './errors.ts';

/** Two builds at once would unpack the same packages twice; the second one waits this long for the first, ms. */
const LOCK_WAIT_MS = 1_200_000;
const LOCK_POLL_MS = 500;
/** What no build has used for so long is removed, ms. */
const UNUSED_MS = 30 * 24 * 3600 * 1000;
/** Names of what is kept are the hashes of what it was made of. */
const HASH = /^[0-9a-f]{64}$/;

/** Where everything that can be made again is kept: `$XDG_CACHE_HOME/rehost`, or `~/.cache/rehost`. */
export function cacheFolder(env: Readonly<Record<string, string | undefined>>, home: string): string {
  const base = env.XDG_CACHE_HOME;
  // The XDG base directory specification: a relative path is invalid and is ignored.
  return join(base?.startsWith('/') ? base : join(home, '.cache'), 'rehost');
}

/** SHA-256, hex, over the parts and their lengths, so that moving a byte from one part to the next changes it. */
export function hashOf(...parts: readonly (string | Buffer)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${Buffer.byteLength(part)}:`).update(part);
  return hash.digest('hex');
}

/** Writes a file so that it is there whole or not at all, also after a crash. Parents are made. */
export async function writeWhole(path: string, data: string | Buffer): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${randomBytes(6).toString('hex')}`;
  try {
    await writeFile(temporary, data, { flush: true });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** The file's content, or what `make` makes, which is then kept. `name` must name the content. */
export async function remembered(folder: string, name: string, make: () => Promise<Buffer>): Promise<Buffer> {
  const path = join(folder, name);
  const old = await readIfThere(path);
  if (old !== null) {
    await touch(path);
    return old;
  }
  const data = await make();
  await writeWhole(path, data);
  return data;
}

/** Marks a file or folder of the cache as used now. */
export async function touch(path: string): Promise<void> {
  const now = new Date();
  await utimes(path, now, now);
}

/** Removes what no build has used for a month, and what a killed build left behind. Only while the cache is locked. */
export async function forgetUnused(cache: string): Promise<void> {
  const entries = (await readdir(cache)).map((name) => join(cache, name));
  const segments = (await readdir(join(cache, 'segments'))).map((name) => join(cache, 'segments', name));
  for (const path of [...entries, ...segments]) {
    const name = basename(path);
    const leftBehind = name.startsWith('work-');
    const unused = HASH.test(name) && Date.now() - (await stat(path)).mtimeMs > UNUSED_MS;
    if (leftBehind || unused) await rm(path, { recursive: true, force: true });
  }
}

/** The file's content, or null when there is no such file. */
export async function readIfThere(path: string): Promise<Buffer | null> {
  try {
    return await readFile(path);
  } catch (error) {
    if (isCode(error, 'ENOENT')) return null;
    throw error;
  }
}

/** Runs `work` while no other process of this machine does so with the same folder. A lock of a dead process is taken over. */
export async function locked<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const path = join(folder, 'lock');
  await mkdir(folder, { recursive: true });
  const deadline = Date.now() + LOCK_WAIT_MS;
  while (!(await take(path))) {
    if (Date.now() > deadline) {
      throw new ImageError(`Another build holds ${path} for too long.`, 'Wait for it, or end it.');
    }
    await sleep(LOCK_POLL_MS);
  }
  try {
    return await work();
  } finally {
    await rm(path, { force: true });
  }
}

async function take(path: string): Promise<boolean> {
  try {
    const file = await open(path, 'wx');
    await file.writeFile(String(process.pid));
    await file.close();
    return true;
  } catch (error) {
    if (!isCode(error, 'EEXIST')) throw error;
  }
  const holder = Number(await readIfThere(path));
  // 0: the holder made the file and has not written its id yet, or has just removed it.
  if (holder > 0 && !lives(holder)) await rm(path, { force: true });
  return false;
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return isCode(error, 'EPERM');
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
