import { JobView } from '../api/rest.ts';
import { operand } from './arguments.ts';
import { segment } from './client.ts';
import type { Command } from './command.ts';
import { EXIT } from './exit-codes.ts';
import { describe } from './job-view.ts';

export const show: Command = {
  name: 'show',
  summary: 'say everything about a job',
  operands: ['JOB'],
  options: {},
  async run({ client, output, operands }) {
    const view = await client.get(`/jobs/${segment(operand(operands, 0))}`, JobView);
    if (output.json) output.value(view);
    else {
      for (const line of describe(view)) output.line(line);
      const { error } = view.job;
      if (error)
        output.text(
          `error        ${error.code}: ${error.message}\nsafe         ${error.safe}\nnext         ${error.next}`,
        );
    }
    return EXIT.ok;
  },
};
