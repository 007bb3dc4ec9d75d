/** A folder for a process's disks. Its parent removes it too: a process that hangs or crashes cannot. */
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// Many small reads: memory is ten times as fast as a disk.
const BASE = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

function prefix(pid: number): string {
  return `rehost-fuzz-${pid}-`;
}

/** A new folder, which goes when the process ends. */
export function scratchFolder(): string {
  const folder = mkdtempSync(join(BASE, prefix(process.pid)));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Removes what a process that ended left behind. */
export function removeScratch(pid: number): void {
  for (const name of readdirSync(BASE)) {
    if (name.startsWith(prefix(pid))) rmSync(join(BASE, name), { recursive: true, force: true });
  }
}
