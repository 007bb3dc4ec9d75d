/**
 * What stands on disks and partitions, by libblkid's own probing (`blkid -p`: no cache, no udev database, opens read-only).
 * One child process for all devices.
 */
import { execFile } from 'node:child_process';
import { RehostError } from '../../appliance/api/errors.ts';

/** A disk that answers no read must not keep the machine from appearing in the list, ms. */
const DEADLINE_MS = 60_000;
const OUTPUT_MAX_BYTES = 4 * 1024 * 1024;
/** blkid(8): nothing was found (2), or several things where one should be (8), on some device. Not failures. */
const EXIT_NOTHING = 2;
const EXIT_AMBIVALENT = 8;

/** TYPE, UUID, LABEL, PTTYPE, PART_ENTRY_TYPE ... of one device, as blkid names them. */
export type BlkidFacts = ReadonlyMap<string, string>;

/** Facts by device path; a device on which nothing was recognised has no entry. TOOL_FAILED when blkid fails or takes too long. */
export function probe(paths: readonly string[]): Promise<Map<string, BlkidFacts>> {
  if (paths.length === 0) return Promise.resolve(new Map());
  return new Promise((resolve, reject) => {
    const options = { timeout: DEADLINE_MS, maxBuffer: OUTPUT_MAX_BYTES, killSignal: 'SIGKILL' as const };
    execFile('blkid', ['-p', '-o', 'export', '--', ...paths], options, (error, stdout, stderr) => {
      if (error && error.code !== EXIT_NOTHING && error.code !== EXIT_AMBIVALENT) {
        const what = error.killed ? `gave no answer within ${DEADLINE_MS} ms` : stderr.trim() || error.message;
        reject(new RehostError('TOOL_FAILED', `blkid: ${what}.`, { cause: error }));
      } else resolve(parseExport(stdout));
    });
  });
}

/** Parses `blkid -o export`: blocks of KEY=value, parted by an empty line, each beginning with DEVNAME. */
export function parseExport(text: string): Map<string, BlkidFacts> {
  const devices = new Map<string, BlkidFacts>();
  for (const block of text.split('\n\n')) {
    const facts = new Map<string, string>();
    for (const line of block.split('\n')) {
      const at = line.indexOf('=');
      // Values come with shell-unsafe characters escaped by a backslash.
      if (at > 0) facts.set(line.slice(0, at), line.slice(at + 1).replaceAll(/\\(.)/g, '$1'));
    }
    const name = facts.get('DEVNAME');
    if (name !== undefined) devices.set(name, facts);
  }
  return devices;
}
