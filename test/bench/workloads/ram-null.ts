/** From RAM to nothing: what protocol, network and encryption cost. */
import type { Contender } from '../contender.ts';
import { iperf } from '../peers/iperf.ts';
import { nbdcopies } from '../peers/nbdkit.ts';
import { rehost, rehostClient, rehostPlain } from '../peers/rehost.ts';
import { ssh } from '../peers/ssh.ts';
import { alternate } from '../rounds.ts';
import { LOOPBACK } from '../site.ts';
import { faster, leaner, row } from '../targets.ts';
import type { Workbench } from '../workbench.ts';
import { atLeast, atMost, type Measured, type Workload } from '../workload.ts';

async function measure(
  bench: Workbench,
  contenders: readonly Contender[],
): Promise<Omit<Measured, 'targets' | 'notes'>> {
  const sourceBytes = bench.settings.bytes;
  const errand = { site: LOOPBACK, source: bench.random(sourceBytes), sourceBytes, target: undefined };
  const entries = contenders.map((contender) => ({ contender, errand }));
  return { bytes: sourceBytes, rows: await alternate(bench, entries, bench.settings.rounds) };
}

export const ramNullPlain: Workload = {
  id: 'ram-null-plain',
  title: 'RAM -> null, not encrypted',
  run: async (bench) => {
    const measured = await measure(bench, [rehostPlain, rehostClient, ...nbdcopies(false), iperf]);
    const ours = row(measured.rows, 'rehost');
    return {
      ...measured,
      notes: [
        'Rehost always encrypts: its row here is its own server and client with TLS taken out for this bench, hashes as always.',
      ],
      targets: [
        atLeast('speed / tuned nbdcopy, 4 connections', faster(ours, row(measured.rows, 'nbdcopy-tuned-4')), 1.3, 1.5),
        atLeast('speed / iperf3', faster(ours, row(measured.rows, 'iperf3')), 1.0, 1.1),
      ],
    };
  },
};

export const ramNullTls: Workload = {
  id: 'ram-null-tls',
  title: 'RAM -> null, TLS 1.3 PSK',
  run: async (bench) => {
    const measured = await measure(bench, [rehost, ...nbdcopies(true), ssh]);
    const ours = row(measured.rows, 'rehost');
    const tuned = row(measured.rows, 'nbdcopy-tuned-4');
    return {
      ...measured,
      notes: ['The others hash nothing.'],
      targets: [
        atLeast('speed / tuned nbdcopy, 4 connections', faster(ours, tuned), 1.4, 1.7),
        atLeast('speed / stock nbdcopy, 4 connections', faster(ours, row(measured.rows, 'nbdcopy-stock-4')), 3.5),
        atMost('CPU per GB / tuned nbdcopy, 4 connections', leaner(ours, tuned), 0.7, 0.6),
      ],
    };
  },
};
