import { operand } from './arguments.ts';
import { segment } from './client.ts';
import type { Command } from './command.ts';
import { EXIT } from './exit-codes.ts';

export const log: Command = {
  name: 'log',
  summary: "print a job's log",
  operands: ['JOB'],
  options: {},
  async run({ client, output, operands }) {
    const text = (await client.bytes(`/jobs/${segment(operand(operands, 0))}/log`)).toString('utf8');
    if (output.json) output.value({ log: text });
    else if (text !== '') output.text(text);
    return EXIT.ok;
  },
};
