/**
 * The guest's files, read and changed safely: paths stay below the guest's root (guest-path.ts), only regular files are
 * opened, sizes are bounded, and a change is atomic and on disk when it returns.
 *
 * Text is latin1: every byte survives the way in and out, whatever encoding the guest used.
 */
import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readdir, rename, rm, statfs, symlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { RehostError } from '../../appliance/api/errors.ts';
import { isMissing, resolveInGuest } from './guest-path.ts';

/** Configuration files are far smaller; grub.cfg of a machine with many kernels is some 100 KB. */
const TEXT_MAX_BYTES = 8 * 1024 * 1024;
/** Entries of one folder that are looked at. */
const ENTRIES_MAX = 20_000;
/** Suffix of what is kept beside a changed file or folder. */
export const KEPT_SUFFIX = '.rehost-orig';
const TEMPORARY_SUFFIX = '.rehost-new';

/** What kind of thing stands at a path, symlinks followed inside the guest. */
export async function kindOf(root: string, path: string): Promise<'file' | 'folder' | 'other' | undefined> {
  try {
    const stat = await lstat(await resolveInGuest(root, path));
    if (stat.isFile()) return 'file';
    return stat.isDirectory() ? 'folder' : 'other';
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Opens a regular file of the guest for reading; undefined when there is none. The caller closes it. */
export async function openGuestFile(root: string, path: string): Promise<FileHandle | undefined> {
  const real = await resolveInGuest(root, path);
  let file: FileHandle;
  try {
    // O_NONBLOCK: opening a FIFO must not wait for its writer.
    file = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  try {
    if ((await file.stat()).isFile()) return file;
  } catch (error) {
    await file.close();
    throw error;
  }
  await file.close();
  return undefined;
}

/** The bytes of a file; undefined when there is no regular file. Throws CONVERSION_FAILED above `maxBytes`. */
export async function readBytes(root: string, path: string, maxBytes = TEXT_MAX_BYTES): Promise<Buffer | undefined> {
  const file = await openGuestFile(root, path);
  if (!file) return undefined;
  try {
    const { size } = await file.stat();
    if (size > maxBytes) {
      throw new RehostError('CONVERSION_FAILED', `The guest's ${path} is larger than ${maxBytes} bytes.`);
    }
    return await file.readFile();
  } finally {
    await file.close();
  }
}

/** The text of a file; undefined when there is no regular file. */
export async function readText(root: string, path: string): Promise<string | undefined> {
  return (await readBytes(root, path))?.toString('latin1');
}

/** Names in a folder, sorted; empty when there is no such folder. */
export async function listFolder(root: string, path: string): Promise<string[]> {
  try {
    const names = await readdir(await resolveInGuest(root, path));
    return names.sort().slice(0, ENTRIES_MAX);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

/** Makes a folder and those above it, 0755, each on disk; what exists stays as it is. */
export async function makeFolder(root: string, path: string): Promise<void> {
  let at = '';
  for (const name of path.split('/').filter((part) => part !== '')) {
    at = `${at}/${name}`;
    if ((await kindOf(root, at)) === 'folder') continue;
    const real = await resolveInGuest(root, at);
    await mkdir(real, { mode: 0o755 });
    await syncFolder(dirname(real));
  }
}

/**
 * Replaces a file atomically, or makes it (0644, or `mode`, owned by root; its folder must exist). Mode and owner of an
 * old file stay; where a symlink stands its target in the guest is replaced. On disk when this returns.
 */
export async function writeText(root: string, path: string, text: string, mode = 0o644): Promise<void> {
  await writeBytes(root, path, Buffer.from(text, 'latin1'), mode);
}

/** Like `writeText`, for bytes. */
export async function writeBytes(root: string, path: string, bytes: Buffer, mode = 0o644): Promise<void> {
  const real = await resolveInGuest(root, path);
  const old = await lstat(real).catch((error: unknown) => {
    if (isMissing(error)) return undefined;
    throw error;
  });
  if (old && !old.isFile()) {
    throw new RehostError('CONVERSION_FAILED', `The guest's ${path} is not a regular file.`);
  }
  const temporary = join(dirname(real), `${basename(real)}${TEMPORARY_SUFFIX}`);
  // Left over by a conversion that was killed, or put there by the guest, maybe as a symlink: removed, never opened.
  await rm(temporary, { force: true });
  const file = await open(temporary, 'wx', 0o600);
  try {
    await file.writeFile(bytes);
    if (old) await setOwner(file, real, old.uid, old.gid, old.mode);
    else await setOwner(file, real, 0, 0, mode);
    await file.sync();
    await file.close();
    await rename(temporary, real);
  } catch (error) {
    // A second close answers EBADF, which says nothing new; the first failure is what counts.
    await file.close().catch(() => undefined);
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(real));
}

/** Copies a file to a path where nothing is yet, mode and owner included. Answers false when something stands there already. */
export async function keepOriginal(root: string, from: string, to: string): Promise<boolean> {
  if ((await kindOf(root, to)) !== undefined) return false;
  const source = await openGuestFile(root, from);
  if (!source) return false;
  try {
    const { uid, gid, mode } = await source.stat();
    const bytes = await source.readFile();
    await writeBytes(root, to, bytes, mode & 0o7777);
    const real = await resolveInGuest(root, to);
    const copy = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      await setOwner(copy, real, uid, gid, mode);
      await copy.sync();
    } finally {
      await copy.close();
    }
  } finally {
    await source.close();
  }
  return true;
}

/** Replaces a file after keeping the original beside it once. */
export async function replaceKeeping(
  root: string,
  path: string,
  text: string,
  keepAs = `${path}${KEPT_SUFFIX}`,
): Promise<void> {
  const keepFolder = dirname(keepAs);
  if (keepFolder !== dirname(path)) await makeFolder(root, keepFolder);
  await keepOriginal(root, path, keepAs);
  await writeText(root, path, text);
}

/** Removes a file (a symlink itself, not its target). */
export async function removeFile(root: string, path: string): Promise<void> {
  const real = await resolveInGuest(root, path, { followLast: false });
  await rm(real, { force: true });
  await syncFolder(dirname(real));
}

/** Makes a symlink with this exact target where nothing stands yet. Its folder must exist. */
export async function makeSymlink(root: string, path: string, target: string): Promise<void> {
  const real = await resolveInGuest(root, path, { followLast: false });
  await symlink(target, real);
  await syncFolder(dirname(real));
}

/** statfs(2) magic numbers of FAT (MSDOS_SUPER_MAGIC) and of FUSE, by which a host without a FAT driver mounts it. */
const WITHOUT_OWNERS = [0x4d44, 0x65735546];

/** Sets owner and mode, where the file system has them. The mode goes last: a change of the owner clears set-id bits. */
async function setOwner(file: FileHandle, path: string, uid: number, gid: number, mode: number): Promise<void> {
  if (WITHOUT_OWNERS.includes((await statfs(dirname(path))).type)) return;
  await file.chown(uid, gid);
  await file.chmod(mode & 0o7777);
}

/** A rename is durable only when its folder is (fsync(2)). */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
