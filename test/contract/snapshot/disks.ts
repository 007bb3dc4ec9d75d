/** Disks for tests: loop devices on temporary files. Needs root. */
import { type ExecFileSyncOptionsWithStringEncoding, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { TestContext } from 'node:test';
import { atEnd } from './at-end.ts';

export interface TestDisk {
  /** Kernel name. */
  name: string;
  path: string;
  serial: string;
  /** The file behind it. */
  file: string;
}

/** Options of a child process that says nothing unless it fails. */
export const QUIET: ExecFileSyncOptionsWithStringEncoding = { encoding: 'utf8', timeout: 60_000, stdio: 'pipe' };

/** A loop device with this content. It is writable again, detached and removed after the test. */
export function loopDisk(t: TestContext, content: Buffer): TestDisk {
  const folder = mkdtempSync(join(tmpdir(), 'rehost-disk-'));
  atEnd(t, () => rmSync(folder, { recursive: true }));
  const file = join(folder, 'disk.raw');
  writeFileSync(file, content);
  const path = execFileSync('losetup', ['--find', '--show', file], QUIET).trim();
  execFileSync('blockdev', ['--setrw', path], QUIET);
  atEnd(t, () => {
    // The kernel keeps the mark for the next user of the loop device.
    execFileSync('blockdev', ['--setrw', path], QUIET);
    execFileSync('losetup', ['--detach', path], QUIET);
  });
  return { name: basename(path), path, serial: `serial of ${basename(path)}`, file };
}
