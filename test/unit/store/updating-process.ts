/** A process that updates the state as fast as it can and says each update that is durable; the test kills it. */
import { once } from 'node:events';
import { Store } from '../../../appliance/store/store.ts';
import { job } from '../../lab/orchestrator/job.ts';

const folder = process.env.FOLDER;
if (folder === undefined) throw new Error('FOLDER is not set');
const store = await Store.open(folder);
for (let round = 1; round <= 100_000; round++) {
  // Each state is large enough to need many pages, and both places must hold the same round.
  await store.update((draft) => {
    draft.jobs = [
      job('aaaaaa', { readBytes: round, warnings: ['x'.repeat(200_000)] }),
      job('bbbbbb', { readBytes: round }),
    ];
  });
  if (!process.stdout.write(`${round}\n`)) await once(process.stdout, 'drain');
}
