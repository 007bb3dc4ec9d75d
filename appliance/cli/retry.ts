import { JobView } from '../api/rest.ts';
import { operand } from './arguments.ts';
import { segment } from './client.ts';
import type { Command } from './command.ts';
import { EXIT } from './exit-codes.ts';

export const retry: Command = {
  name: 'retry',
  summary: 'go on with a failed job whose verified replicas were kept',
  operands: ['JOB'],
  options: {},
  notes: ['Nothing is copied a second time.'],
  async run({ client, output, operands }) {
    const view = await client.post(`/jobs/${segment(operand(operands, 0))}/retry`, undefined, JobView);
    if (output.json) output.value(view);
    else output.line(`Job ${view.job.id} goes on.`);
    return EXIT.ok;
  },
};
