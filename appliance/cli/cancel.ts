import { JobView } from '../api/rest.ts';
import { operand } from './arguments.ts';
import { segment } from './client.ts';
import type { Command } from './command.ts';
import { EXIT } from './exit-codes.ts';

export const cancel: Command = {
  name: 'cancel',
  summary: 'end a job and remove what it made',
  operands: ['JOB'],
  options: {},
  notes: ['A job that failed and kept its verified replicas can be cancelled too: they are removed then.'],
  async run({ client, output, operands }) {
    const view = await client.post(`/jobs/${segment(operand(operands, 0))}/cancel`, undefined, JobView);
    if (output.json) output.value(view);
    else output.line(`Job ${view.job.id} is being cancelled.`);
    return EXIT.ok;
  },
};
