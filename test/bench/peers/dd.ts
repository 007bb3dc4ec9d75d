/** dd on this machine, no network: what source and target allow. */
import type { Contender } from '../contender.ts';

const BLOCK = 'bs=1M';

export const dd: Contender = {
  id: 'dd',
  name: 'dd, local, no network, O_DIRECT',
  programs: ['dd'],
  copy: async (trial, { site, source, target }) => {
    if (target === undefined) throw new Error('dd measures a target.');
    const argv = ['dd', `if=${source}`, `of=${target}`, BLOCK, 'iflag=direct', 'oflag=direct', 'conv=notrunc,fsync'];
    trial.begin();
    await trial.success(trial.start('sink', site.sink, argv));
    trial.end();
  },
};
