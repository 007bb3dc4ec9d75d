/**
 * What stands on disks and partitions, by libblkid's own probing (`blkid -p`: no cache, no udev database, opens read-only).
 * One process for each device: given several, blkid ends at the first on which it finds nothing. lsblk asks a udev database
 * that the agent's image does not have.
 */
import { execFile } from 'node:child_process';
import { RehostError } from '../../appliance/api/errors.ts';

/** A disk that answers no read must not keep the machine from appearing in the list, ms. */
const DEADLINE_MS = 30_000;
const OUTPUT_MAX_BYTES = 256 * 1024;
/** Enough to use two processors and not to be held up by one slow disk. */
const AT_ONCE = 4;
/** blkid(8): nothing was found or the device cannot be opened (2), or several things where one should be (8). */
const EXIT_NOTHING = 2;
const EXIT_AMBIVALENT = 8;

/** TYPE, UUID, LABEL, PTTYPE, PART_ENTRY_TYPE ... of one device, as blkid names them. */
export type BlkidFacts = ReadonlyMap<string, string>;

/** Facts by device path; a device on which nothing was recognised has none. Why a device was left out is told to `failed`. */
export async function probeAll(
  paths: readonly string[],
  failed: (error: RehostError) => void,
): Promise<Map<string, BlkidFacts>> {
  const found = new Map<string, BlkidFacts>();
  const queue = paths.values();
  const worker = async (): Promise<void> => {
    // The iterator is shared: each path goes to one worker.
    for (const path of queue) {
      try {
        found.set(path, await probe(path));
      } catch (error) {
        if (!(error instanceof RehostError)) throw error;
        failed(error);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return found;
}

/** Facts of one device; none where nothing was recognised. TOOL_FAILED when blkid fails or takes too long. */
export function probe(path: string): Promise<BlkidFacts> {
  return new Promise((resolve, reject) => {
    const options = { timeout: DEADLINE_MS, maxBuffer: OUTPUT_MAX_BYTES, killSignal: 'SIGKILL' as const };
    execFile('blkid', ['-p', '-o', 'export', '--', path], options, (error, stdout, stderr) => {
      if (error && error.code !== EXIT_NOTHING && error.code !== EXIT_AMBIVALENT) {
        const what = error.killed ? `gave no answer within ${DEADLINE_MS} ms` : stderr.trim() || error.message;
        reject(new RehostError('TOOL_FAILED', `blkid ${path}: ${what}.`, { cause: error }));
      } else resolve(parseExport(stdout));
    });
  });
}

/** Lines of KEY=value; characters that a shell would treat specially come with a backslash before them. */
function parseExport(text: string): BlkidFacts {
  const facts = new Map<string, string>();
  for (const line of text.split('\n')) {
    const at = line.indexOf('=');
    if (at > 0) facts.set(line.slice(0, at), line.slice(at + 1).replaceAll(/\\(.)/g, '$1'));
  }
  return facts;
}
