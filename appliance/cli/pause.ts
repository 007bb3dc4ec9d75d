import { JobView } from '../api/rest.ts';
import { operand } from './arguments.ts';
import { segment } from './client.ts';
import type { Command } from './command.ts';
import { EXIT } from './exit-codes.ts';

export const pause: Command = {
  name: 'pause',
  summary: 'let a job stand still, in whatever phase it is, until it is resumed',
  operands: ['JOB'],
  options: {},
  notes: [
    'Copy and verification stop within seconds; the proof suspends the target VM. A conversion is finished first.',
    'The pause holds over restarts of rehostd. A paused job can be cancelled.',
  ],
  async run({ client, output, operands }) {
    const view = await client.post(`/jobs/${segment(operand(operands, 0))}/pause`, undefined, JobView);
    if (output.json) output.value(view);
    else output.line(`Job ${view.job.id} is being paused; 'rehost resume ${view.job.id}' lets it go on.`);
    return EXIT.ok;
  },
};
