/** A real file system over a slow link: what compression and leaving out free blocks gain. */
import { execFileSync } from 'node:child_process';
import { lstatSync, statSync } from 'node:fs';
import { layLink } from '../link/link.ts';
import { iperf } from '../peers/iperf.ts';
import { tunedNbdcopy } from '../peers/nbdkit.ts';
import { rehost } from '../peers/rehost.ts';
import { alternate, type Entry } from '../rounds.ts';
import { typical } from '../statistics.ts';
import { row } from '../targets.ts';
import { MIB, missing, type Workbench } from '../workbench.ts';
import { atLeast, type Workload } from '../workload.ts';

const BITS_PER_SECOND = 1e9;
const DELAY_MS = 1;

export const link: Workload = {
  id: 'link',
  title: 'file system image over 1 Gbit/s with 1 ms each way -> sparse loop device',
  run: async (bench) => {
    const absent = missing(['ip', 'tc', 'mke2fs', 'du']);
    if (absent !== undefined) throw new Error(absent);
    const { tree } = bench.settings;
    const image = imageOf(bench, tree);
    const sourceBytes = statSync(image).size;
    const usedBytes = lstatSync(image).blocks * 512;
    const laid = await layLink(BITS_PER_SECOND, DELAY_MS);
    try {
      const target = bench.loop(sourceBytes, 'sparse');
      const entries: Entry[] = [rehost, tunedNbdcopy(true)].map((contender) => ({
        contender,
        errand: { site: laid.site, source: image, sourceBytes, target },
      }));
      // As many bytes as the image has in use: for the link's own rate in this run.
      entries.push({
        contender: iperf,
        errand: { site: laid.site, source: image, sourceBytes: usedBytes, target: undefined },
      });
      const rows = await alternate(bench, entries, bench.settings.rounds);
      const ours = row(rows, 'rehost');
      const rate =
        ours && ours.notMeasured === null ? usedBytes / typical(ours, ({ wallSeconds }) => wallSeconds) : undefined;
      return {
        bytes: usedBytes,
        rows,
        notes: [
          `An ext4 made of ${tree}: ${Math.round(usedBytes / MIB)} MiB that are not holes of ${Math.round(sourceBytes / MIB)} MiB. GB/s counts the former.`,
          'Two network namespaces; the rate by tc tbf in both directions (IP packets with headers), the delay by a process that carries the packets.',
          "That process's work shows in 'others', not in 'CPU'.",
        ],
        targets: [
          atLeast("effective rate / the link's raw rate of 0.125 GB/s", rate && rate / (BITS_PER_SECOND / 8), 1.8),
        ],
      };
    } finally {
      await laid.close();
    }
  },
};

/** An ext4 image of a tree, in RAM, not much larger than it. */
function imageOf(bench: Workbench, tree: string): string {
  const count = (...flags: string[]): number =>
    Number(
      execFileSync('du', [...flags, '-s', tree], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split(
        '\t',
      )[0],
    );
  const kib = count('-k', '-x');
  const inodes = count('--inodes', '-x');
  const path = bench.sparse(Math.ceil((kib * 1024 * 1.15 + 64 * MIB + inodes * 512) / MIB) * MIB);
  const options = ['-q', '-F', '-t', 'ext4', '-m', '0', '-N', String(Math.ceil(inodes * 1.1) + 1024)];
  execFileSync('mke2fs', [...options, '-d', tree, path], { stdio: ['ignore', 'ignore', 'pipe'] });
  return path;
}
