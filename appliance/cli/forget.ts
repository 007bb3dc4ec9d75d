import { Machine } from '../api/rest.ts';
import { operand } from './arguments.ts';
import { segment } from './client.ts';
import type { Command } from './command.ts';
import { EXIT } from './exit-codes.ts';

export const forget: Command = {
  name: 'forget',
  summary: "take a machine's approval back and remove it from the list",
  operands: ['MACHINE'],
  options: {},
  async run({ client, output, operands }) {
    const machine = await client.delete(`/machines/${segment(operand(operands, 0))}`, Machine);
    if (output.json) output.value(machine);
    else output.line(`${machine.id} ('${machine.name}') is forgotten.`);
    return EXIT.ok;
  },
};
