import { JobView } from '../api/rest.ts';
import { operand } from './arguments.ts';
import { segment } from './client.ts';
import type { Command } from './command.ts';
import { EXIT } from './exit-codes.ts';

export const resume: Command = {
  name: 'resume',
  summary: 'let a paused job go on',
  operands: ['JOB'],
  options: {},
  async run({ client, output, operands }) {
    const view = await client.post(`/jobs/${segment(operand(operands, 0))}/resume`, undefined, JobView);
    if (output.json) output.value(view);
    else output.line(`Job ${view.job.id} goes on.`);
    return EXIT.ok;
  },
};
