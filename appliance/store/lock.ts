/**
 * One orchestrator per state folder. The lock is the kernel's (flock(2)) on a file that names its owner's pid: it ends with the
 * process that holds it, however that ends, so that a lock left behind by a SIGKILL or a power cut cannot be mistaken for a held
 * one, and two starts at once cannot both take it over.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { RehostError } from '../api/errors.ts';

/** flock(1)'s exit code for a lock that another has, as asked for by --conflict-exit-code. */
const CONFLICT = 75;
const TOOL_DEADLINE_MS = 10_000;

/** A held lock. The end of the process releases it too. */
export interface StoreLock {
  release(): Promise<void>;
}

/** Takes the folder's lock. STORE_LOCKED where a living process has it. */
export async function lockStore(folder: string): Promise<StoreLock> {
  const file = await open(join(folder, 'lock'), 'a+', 0o600);
  try {
    if (!(await lock(file))) {
      const holder = Number.parseInt((await file.readFile('utf8')).trim(), 10);
      throw new RehostError('STORE_LOCKED', `The state folder ${folder} is used by process ${holder}.`);
    }
    await file.truncate(0);
    await file.writeFile(`${process.pid}\n`);
    return { release: () => file.close() };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/**
 * Node has no flock of its own. flock(1) locks the descriptor that it inherits; the lock belongs to the open file description,
 * which is this process's too, and stays when the tool has ended (flock(2)). Other children do not inherit it (O_CLOEXEC).
 */
async function lock(file: FileHandle): Promise<boolean> {
  const argv = ['--exclusive', '--nonblock', '--conflict-exit-code', String(CONFLICT), '3'];
  const child = spawn('flock', argv, { stdio: ['ignore', 'ignore', 'ignore', file.fd], timeout: TOOL_DEADLINE_MS });
  const [code] = await once(child, 'exit');
  if (code === 0) return true;
  if (code === CONFLICT) return false;
  throw new RehostError('TOOL_FAILED', `flock ended with ${code} instead of locking the state folder.`);
}
