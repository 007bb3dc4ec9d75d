import { operand } from './arguments.ts';
import type { Command } from './command.ts';
import { follow } from './follow.ts';

export const watch: Command = {
  name: 'watch',
  summary: 'show the progress of a job until it ends',
  operands: ['JOB'],
  options: {},
  notes: ["Ends with 0 only when the job is done; leaving with Ctrl-C does not stop the job ('rehost cancel' does)."],
  run: ({ client, output, operands }) => follow(client, output, operand(operands, 0)),
};
