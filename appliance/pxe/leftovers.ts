/** A dnsmasq that outlived its orchestrator holds the ports that the next one needs. */
import { readdir, readFile } from 'node:fs/promises';
import { RehostError } from '../api/errors.ts';

const WAIT_ROUNDS = 50;
const WAIT_MS = 100;

/** Ends every dnsmasq that was started with this configuration file and waits until it is gone. */
export async function endLeftovers(configPath: string): Promise<void> {
  for (let round = 0; round < WAIT_ROUNDS; round++) {
    const pids = await runningWith(configPath);
    if (pids.length === 0) return;
    for (const pid of pids) end(pid);
    await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
  }
  throw new RehostError('PXE_UNAVAILABLE', `Network boot: an earlier dnsmasq of ${configPath} does not end.`);
}

async function runningWith(configPath: string): Promise<number[]> {
  const pids: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const argv = (await commandLine(name)).split('\0');
    if (argv[0]?.endsWith('dnsmasq') && argv.includes(`--conf-file=${configPath}`)) pids.push(Number(name));
  }
  return pids;
}

async function commandLine(pid: string): Promise<string> {
  try {
    return await readFile(`/proc/${pid}/cmdline`, 'utf8');
  } catch (error) {
    if (isGone(error)) return '';
    throw error;
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}

/** Did the process end between two looks at it? */
function isGone(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH');
}
