/** A disk of 16 TiB with little in use: the memory of both sides must not grow with the disk. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { rehost } from '../peers/rehost.ts';
import { alternate } from '../rounds.ts';
import { LOOPBACK } from '../site.ts';
import { row } from '../targets.ts';
import { GIB, MIB, type Workbench } from '../workbench.ts';
import { atMost, type Workload } from '../workload.ts';

const DISK_BYTES = 16 * 1024 * GIB;
const FILES = 48;

export const memory: Workload = {
  id: 'memory',
  title: 'peak memory, 16 TiB with little in use -> sparse file, TLS 1.3 PSK',
  run: async (bench) => {
    const fileBytes = Math.max(MIB, Math.min(8 * MIB, Math.floor(bench.settings.bytes / FILES / MIB) * MIB));
    const source = fileSystem(bench, fileBytes);
    const errand = { site: LOOPBACK, source, sourceBytes: DISK_BYTES, target: bench.sparse(DISK_BYTES) };
    const rows = await alternate(bench, [{ contender: rehost, errand }], Math.min(3, bench.settings.rounds));
    const ours = row(rows, 'rehost');
    const worst = (of: (run: { sourceRssBytes: number; sinkRssBytes: number }) => number): number | undefined =>
      ours && ours.notMeasured === null ? Math.max(...ours.runs.map(of)) / MIB : undefined;
    return {
      bytes: FILES * fileBytes,
      rows,
      notes: [
        `An ext4 of 16 TiB with ${FILES} files of ${fileBytes / MIB} MiB; its own structures are as scattered as in every large ext4. GB/s counts the files only.`,
        'The largest of the rounds counts here.',
      ],
      targets: [
        atMost(
          'receiver, VmHWM',
          worst((run) => run.sinkRssBytes),
          128,
          undefined,
          'MiB',
        ),
        atMost(
          'agent, VmHWM',
          worst((run) => run.sourceRssBytes),
          160,
          undefined,
          'MiB',
        ),
      ],
    };
  },
};

function fileSystem(bench: Workbench, fileBytes: number): string {
  const tree = bench.folder();
  for (let i = 0; i < FILES; i++) bench.scatter(join(tree, `file-${i}`), 0, fileBytes);
  const path = bench.sparse(DISK_BYTES);
  // Few inodes and a small journal: what mke2fs writes is kept in RAM.
  const options = ['-q', '-F', '-t', 'ext4', '-O', '64bit', '-m', '0', '-N', '1000000', '-J', 'size=16'];
  execFileSync('mke2fs', [...options, '-E', 'lazy_itable_init=1,nodiscard', '-d', tree, path], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  if (!existsSync(path)) throw new Error('mke2fs made no file system.');
  return path;
}
