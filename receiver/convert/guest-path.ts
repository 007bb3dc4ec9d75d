/**
 * Paths of the guest, resolved as the guest itself would: every component is looked at, absolute symlinks and `..` begin
 * at and never leave the guest's root. The kernel's own resolution is never given a component that may be a symlink,
 * because it would follow an absolute one into the transfer VM.
 *
 * This is free of races because nothing of the guest runs meanwhile: update-initramfs lives in a PID namespace that is
 * dead before the next file is touched.
 */
import { lstat, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { RehostError } from '../../appliance/api/errors.ts';

/** The kernel's own limit of symlinks in one path (path_resolution(7)). */
const SYMLINKS_MAX = 40;
/** Components in one path, targets of symlinks included: bounds what a guest can make us walk. */
const COMPONENTS_MAX = 1000;

export interface ResolveOptions {
  /** Follow the last component when it is a symlink; true when left out. */
  followLast?: boolean;
}

/**
 * The path on this machine of a path in the guest. The answer lies below `root` and none of its components is a symlink
 * (the last one may be, with `followLast: false`). The last component need not exist; one before it that does not exist
 * is answered as it stands, so that the caller meets ENOENT. Throws CONVERSION_FAILED on a loop.
 */
export async function resolveInGuest(root: string, path: string, options: ResolveOptions = {}): Promise<string> {
  const pending = components(path);
  const resolved: string[] = [];
  let symlinks = 0;
  let walked = 0;
  while (pending.length > 0) {
    walked += 1;
    if (walked > COMPONENTS_MAX) throw unresolvable(path);
    const name = pending.shift() ?? '';
    if (name === '.') continue;
    if (name === '..') {
      // At the root this is the root itself, as in a chroot.
      resolved.pop();
      continue;
    }
    const here = join(root, ...resolved, name);
    const last = pending.length === 0;
    if ((last && options.followLast === false) || !(await isSymlink(here))) {
      resolved.push(name);
      continue;
    }
    symlinks += 1;
    if (symlinks > SYMLINKS_MAX) throw unresolvable(path);
    const target = await readlink(here);
    if (target.startsWith('/')) resolved.length = 0;
    pending.unshift(...components(target));
  }
  return join(root, ...resolved);
}

function components(path: string): string[] {
  if (path.includes('\0')) throw unresolvable(path);
  return path.split('/').filter((name) => name !== '');
}

async function isSymlink(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isSymbolicLink();
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

/** Is this the error of a path that does not exist (or that has a file where a folder should be)? */
export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}

function unresolvable(path: string): RehostError {
  return new RehostError('CONVERSION_FAILED', `The guest's path ${JSON.stringify(path)} cannot be resolved.`);
}
