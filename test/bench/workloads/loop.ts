/** To a loop device over a file in RAM: what writing to a disk adds. From RAM, and from a file on a real disk. */
import type { Contender } from '../contender.ts';
import { dd } from '../peers/dd.ts';
import { nbdcopies, tunedNbdcopy } from '../peers/nbdkit.ts';
import { qemu } from '../peers/qemu.ts';
import { rehost, rehostPlain } from '../peers/rehost.ts';
import { ssh } from '../peers/ssh.ts';
import { alternate, type Entry, sameContent } from '../rounds.ts';
import { LOOPBACK } from '../site.ts';
import { faster, leaner, row } from '../targets.ts';
import { directIo, forget, type Workbench } from '../workbench.ts';
import { atLeast, atMost, type Measured, type Workload } from '../workload.ts';

async function measure(
  bench: Workbench,
  contenders: readonly Contender[],
  where: 'ram' | 'disk',
): Promise<Omit<Measured, 'targets'>> {
  const sourceBytes = bench.settings.bytes;
  const source = bench.random(sourceBytes, where);
  const target = bench.loop(sourceBytes, 'full');
  const entries = contenders.map((contender): Entry => {
    let marked = false;
    return {
      contender,
      errand: { site: LOOPBACK, source, sourceBytes, target },
      before: () => {
        // What an earlier run left is no proof of this contender's copy.
        if (!marked) bench.scribble(target, sourceBytes);
        marked = true;
        forget(target);
        if (where === 'disk') forget(source);
      },
      check: () => sameContent(source, target, sourceBytes),
    };
  });
  const dio = directIo(target)
    ? 'with direct I/O to its file'
    : 'WITHOUT direct I/O to its file, which the file system lacks';
  return {
    bytes: sourceBytes,
    rows: await alternate(bench, entries, bench.settings.rounds),
    notes: [
      `The loop device works ${dio}, in RAM and allocated before. Its own work shows in 'others', not in 'CPU'.`,
      "Rehost, qemu-img, dd and ssh's dd write with O_DIRECT; nbdcopy cannot. All flush; each contender's first copy was compared.",
    ],
  };
}

export const ramLoopPlain: Workload = {
  id: 'ram-loop-plain',
  title: 'RAM -> loop device, not encrypted',
  run: async (bench) => {
    const measured = await measure(bench, [rehostPlain, ...nbdcopies(false, [4]), qemu, dd], 'ram');
    const ours = row(measured.rows, 'rehost');
    return {
      ...measured,
      notes: ['Rehost with TLS taken out for this bench, hashes as always.', ...measured.notes],
      targets: [
        atLeast('speed / tuned nbdcopy, 4 connections', faster(ours, row(measured.rows, 'nbdcopy-tuned-4')), 1.8, 2.2),
        atLeast('speed / qemu-img', faster(ours, row(measured.rows, 'qemu-img')), 1.6),
        atLeast('speed / local dd', faster(ours, row(measured.rows, 'dd')), undefined, 0.95),
      ],
    };
  },
};

export const ramLoopTls: Workload = {
  id: 'ram-loop-tls',
  title: 'RAM -> loop device, TLS 1.3 PSK',
  run: async (bench) => {
    const measured = await measure(bench, [rehost, ...nbdcopies(true, [4]), ssh], 'ram');
    const ours = row(measured.rows, 'rehost');
    const tuned = row(measured.rows, 'nbdcopy-tuned-4');
    return {
      ...measured,
      targets: [
        atLeast('speed / tuned nbdcopy, 4 connections', faster(ours, tuned), 1.4, 1.7),
        atLeast('speed / stock nbdcopy, 4 connections', faster(ours, row(measured.rows, 'nbdcopy-stock-4')), 3.5),
        atMost('CPU per GB / tuned nbdcopy, 4 connections', leaner(ours, tuned), 0.7, 0.6),
      ],
    };
  },
};

export const fileLoop: Workload = {
  id: 'file-loop',
  title: 'file -> loop device, TLS 1.3 PSK',
  run: async (bench) => {
    const measured = await measure(bench, [rehost, tunedNbdcopy(true), qemu, dd], 'disk');
    return {
      ...measured,
      notes: ['The file is on a real disk, not in the page cache; qemu-img and dd do not encrypt.', ...measured.notes],
      targets: [],
    };
  },
};
