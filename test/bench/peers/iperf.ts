/** iperf3: what TCP carries between the two sides, no disk and no encryption. */
import { join } from 'node:path';
import { freePort } from '../../real/transfer/transfer-lab.ts';
import type { Contender } from '../contender.ts';

export const iperf: Contender = {
  id: 'iperf3',
  name: 'iperf3, 1 stream',
  programs: ['iperf3'],
  copy: async (trial, { site, sourceBytes, folder }) => {
    const port = await freePort();
    const pidFile = join(folder, 'iperf3.pid');
    const server = ['iperf3', '--server', '--one-off', '--bind', site.sink.address, '--port', String(port)];
    await trial.ready(trial.start('sink', site.sink, [...server, '--pidfile', pidFile]), pidFile);
    const client = ['iperf3', '--client', site.sink.address, '--port', String(port), '--bytes', String(sourceBytes)];
    trial.begin();
    await trial.success(trial.start('source', site.source, client));
    trial.end();
  },
};
