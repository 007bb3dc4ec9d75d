import { JobView } from '../api/rest.ts';
import { operand } from './arguments.ts';
import { segment } from './client.ts';
import type { Command } from './command.ts';
import { EXIT } from './exit-codes.ts';
import { followUntilEnd } from './follow.ts';
import { checkLine } from './job-view.ts';

export const verify: Command = {
  name: 'verify',
  summary: 'check the replica of an ended job against its signed manifest',
  operands: ['JOB'],
  options: {},
  notes: [
    'For a job that is done, or that failed and kept its replica. The replica is read in a VM of its own and never written.',
    'Exit code 0: it is as it was verified. 1: it is not, or it could not be checked; the text says which.',
  ],
  async run({ client, output, operands }) {
    const id = segment(operand(operands, 0));
    const begun = await client.post(`/jobs/${id}/verify`, undefined, JobView);
    if (!output.json) output.line(`The replica of job ${begun.job.id} is being checked.`);
    const view = await followUntilEnd(client, output, begun.job.id);
    if (output.json) output.value(view);
    else output.line(checkLine(view.job));
    return view.job.lastCheck?.ok === true ? EXIT.ok : EXIT.failed;
  },
};
