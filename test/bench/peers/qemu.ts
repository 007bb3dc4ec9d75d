/** qemu-nbd and qemu-img convert, out of order, 16 requests at once, the target with O_DIRECT. Not encrypted. */
import { join } from 'node:path';
import { freePort } from '../../real/transfer/transfer-lab.ts';
import type { Contender } from '../contender.ts';

export const qemu: Contender = {
  id: 'qemu-img',
  name: 'qemu-nbd -> qemu-img convert -W -m 16 -t none',
  programs: ['qemu-nbd', 'qemu-img'],
  copy: async (trial, { site, source, target, folder }) => {
    if (target === undefined) throw new Error('qemu-img needs a target.');
    const port = await freePort();
    const pidFile = join(folder, 'qemu-nbd.pid');
    const server = ['qemu-nbd', '--read-only', '--persistent', '--shared=8', '--format=raw', '--export-name=sda'];
    const where = [`--bind=${site.source.address}`, `--port=${port}`, `--pid-file=${pidFile}`];
    await trial.ready(trial.start('source', site.source, [...server, ...where, source]), pidFile);
    const from = `nbd://${site.source.address}:${port}/sda`;
    const convert = ['qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', '-t', 'none', '-W', '-m', '16'];
    trial.begin();
    await trial.success(trial.start('sink', site.sink, [...convert, from, target]));
    trial.end();
  },
};
