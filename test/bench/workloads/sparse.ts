/** A large disk of which little is in use, against what is in use alone. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { tunedNbdcopy } from '../peers/nbdkit.ts';
import { rehost } from '../peers/rehost.ts';
import { alternate, type Entry, sameContent } from '../rounds.ts';
import { LOOPBACK } from '../site.ts';
import { ratio } from '../statistics.ts';
import { row } from '../targets.ts';
import { GIB, type Workbench } from '../workbench.ts';
import { atMost, type Workload } from '../workload.ts';

const DISK_BYTES = 100 * GIB;
/** Parts that the bytes in use of a disk without a file system are scattered in. */
const PARTS = 64;

export const sparse: Workload = {
  id: 'sparse',
  title: '100 GiB with little in use -> sparse loop device, TLS 1.3 PSK',
  run: async (bench) => {
    const bytes = Math.floor(bench.settings.bytes / 2 / PARTS / 4096) * PARTS * 4096;
    const alone = bench.random(bytes);
    const sources = {
      alone: { path: alone, sizeBytes: bytes },
      ext4: { path: fileSystem(bench, bytes), sizeBytes: DISK_BYTES },
      raw: { path: scattered(bench, bytes), sizeBytes: DISK_BYTES },
    };
    const entries: Entry[] = Object.entries(sources).map(([id, { path, sizeBytes }]) => {
      const target = bench.loop(sizeBytes, 'sparse');
      return {
        contender: { ...rehost, id, name: `${rehost.name}: ${NAMES[id] ?? id}` },
        errand: { site: LOOPBACK, source: path, sourceBytes: sizeBytes, target },
        check: () => {
          // Free blocks need not be the same, and 100 GiB of holes take long to compare.
          if (id === 'alone') sameContent(path, target, sizeBytes);
        },
      };
    });
    const peer = tunedNbdcopy(true);
    const target = bench.loop(DISK_BYTES, 'sparse');
    const peerErrand = { site: LOOPBACK, source: sources.raw.path, sourceBytes: DISK_BYTES, target };
    entries.push({ contender: { ...peer, name: `${peer.name}: ${NAMES.raw}` }, errand: peerErrand });
    const rows = await alternate(bench, entries, bench.settings.rounds);
    const times = (id: string): number | undefined =>
      ratio(row(rows, id), row(rows, 'alone'), (one) => one.wallSeconds);
    return {
      bytes,
      rows,
      notes: [
        `${(bytes / GIB).toFixed(2)} GiB of random data: alone; as a file in an ext4 of 100 GiB; scattered in 64 parts over 100 GiB without a file system.`,
        'Both servers ask the file for its holes. A real disk has none to tell of: what no file system calls free is read, and zeros are not sent.',
      ],
      targets: [
        atMost('time of the ext4 / of what is in use alone', times('ext4'), 1.2),
        atMost('time of the disk without a file system / of what is in use alone', times('raw'), 1.2),
      ],
    };
  },
};

const NAMES: Record<string, string> = {
  alone: 'what is in use alone',
  ext4: '100 GiB, ext4',
  raw: '100 GiB, no file system',
};

function scattered(bench: Workbench, bytes: number): string {
  const path = bench.sparse(DISK_BYTES);
  const part = bytes / PARTS;
  const distance = Math.floor(DISK_BYTES / PARTS / 4096) * 4096;
  for (let i = 0; i < PARTS; i++) bench.scatter(path, i * distance, part);
  return path;
}

/** An ext4 of 100 GiB with one file of this size. */
function fileSystem(bench: Workbench, bytes: number): string {
  const tree = bench.folder();
  mkdirSync(join(tree, 'data'));
  const content = bench.random(bytes);
  renameSync(content, join(tree, 'data', 'file'));
  const path = bench.sparse(DISK_BYTES);
  execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', '-m', '0', '-d', tree, path], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  rmSync(tree, { recursive: true });
  if (statSync(path).size !== DISK_BYTES) throw new Error('mke2fs changed the size of the disk.');
  return path;
}
