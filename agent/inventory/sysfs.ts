/**
 * Small readers for /sys and /proc. What is not there is undefined: drivers differ in the attributes that they offer,
 * and reading one can fail (EIO, EINVAL) while the device is well. Every path is made of names that the kernel gave.
 */
import { readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { basename, join } from 'node:path';

/** The attribute's text without the white space around it, or undefined where it cannot be read. */
export function readText(...path: string[]): string | undefined {
  return readBytes(...path)
    ?.toString('utf8')
    .trim();
}

/** The attribute's bytes, or undefined where it cannot be read. */
export function readBytes(...path: string[]): Buffer | undefined {
  try {
    return readFileSync(join(...path));
  } catch {
    // See the head of this file: absent and unreadable mean the same to an inventory.
    return undefined;
  }
}

/** A decimal integer of zero or more, or undefined. */
export function readCount(...path: string[]): number | undefined {
  const text = readText(...path);
  return text !== undefined && /^[0-9]+$/.test(text) ? Number(text) : undefined;
}

/** Names in a folder, sorted as the kernel counts (sda, sdb, ..., sda2 before sda10); empty where there is no such folder. */
export function listNames(...path: string[]): string[] {
  let names: string[];
  try {
    names = readdirSync(join(...path));
  } catch {
    // A bus or class that this machine has not.
    return [];
  }
  return names.sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
}

/** The last part of a symbolic link's target: how /sys names drivers and subsystems. */
export function linkName(...path: string[]): string | undefined {
  try {
    return basename(readlinkSync(join(...path)));
  } catch {
    // No driver bound, or no subsystem.
    return undefined;
  }
}

/** Where a device really stands in the tree, or undefined where there is no such device. */
export function devicePath(...path: string[]): string | undefined {
  try {
    return realpathSync(join(...path));
  } catch {
    // Virtual devices have no `device` link.
    return undefined;
  }
}
