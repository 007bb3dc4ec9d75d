/**
 * One orchestrator per state folder. The lock file names its owner by pid, start time and boot, so that a lock that a
 * SIGKILL or a power cut left behind is recognised, also when the pid has been given to another process since.
 */
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RehostError } from '../api/errors.ts';

/** Rounds of taking over a stale lock before giving up: each round needs another process to have interfered. */
const ATTEMPTS = 5;
/** Field 22 of /proc/PID/stat is the start time, in clock ticks since boot; the fields after ")" begin with field 3. proc_pid_stat(5) */
const START_TIME_AFTER_COMM = 22 - 3;

/** A held lock. `release` removes it; the process's end without release leaves a stale one, which the next start takes over. */
export interface StoreLock {
  release(): Promise<void>;
}

/** Takes the folder's lock. STORE_LOCKED where a living process has it. */
export async function lockStore(folder: string): Promise<StoreLock> {
  const path = join(folder, 'lock');
  const mine = await identityOf(process.pid);
  if (mine === undefined) throw new RehostError('INTERNAL', 'This process is not in /proc.');
  const candidate = `${path}.${process.pid}`;
  await writeFile(candidate, mine, { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (await linkNew(candidate, path)) return { release: () => rm(path, { force: true }) };
      const holder = await readIfThere(path);
      if (holder === undefined) continue;
      const pid = Number.parseInt(holder, 10);
      if (holder === (await identityOf(pid))) {
        throw new RehostError('STORE_LOCKED', `The state folder ${folder} is used by process ${pid}.`);
      }
      await removeStale(path, holder);
    }
  } finally {
    await rm(candidate, { force: true });
  }
  throw new RehostError('STORE_LOCKED', `The lock of the state folder ${folder} changes hands without end.`);
}

/** Moves the stale lock away; puts back what turns out to be a newer one, taken between our look and the move. */
async function removeStale(path: string, stale: string): Promise<void> {
  const aside = `${path}.stale.${process.pid}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if (isCode(error, 'ENOENT')) return;
    throw error;
  }
  if ((await readIfThere(aside)) !== stale) await linkNew(aside, path);
  await rm(aside, { force: true });
}

/** link(2) makes the name only where it is free, with the content complete from the first moment. */
async function linkNew(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (isCode(error, 'EEXIST')) return false;
    throw error;
  }
}

/** `pid start-time boot-id`, or undefined where there is no such process. */
async function identityOf(pid: number): Promise<string | undefined> {
  if (!Number.isSafeInteger(pid) || pid < 1) return undefined;
  const stat = await readIfThere(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
  return `${pid} ${fields[START_TIME_AFTER_COMM] ?? ''} ${boot.trim()}\n`;
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    // ESRCH: the process ended between open and read of its stat.
    if (isCode(error, 'ENOENT') || isCode(error, 'ESRCH')) return undefined;
    throw error;
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
