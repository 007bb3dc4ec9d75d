import { ApprovedMachine } from '../api/rest.ts';
import { given, operand, textOption } from './arguments.ts';
import { segment } from './client.ts';
import type { Command } from './command.ts';
import { EXIT } from './exit-codes.ts';

export const approve: Command = {
  name: 'approve',
  summary: 'approve a machine with the code that its own screen shows',
  operands: ['MACHINE', 'CODE'],
  options: { name: { type: 'string' } },
  optionHelp: {
    '--name NAME': 'what the machine is called from now on',
  },
  notes: ['Read the code from the source machine itself. Five wrong codes lock it until it is booted again.'],
  async run({ client, output, operands, values }) {
    const body = { code: operand(operands, 1), ...given({ name: textOption(values, 'name') }) };
    const machine = await client.post(`/machines/${segment(operand(operands, 0))}/approve`, body, ApprovedMachine);
    if (output.json) {
      output.value(machine);
      return EXIT.ok;
    }
    output.line(`${machine.id} is approved as '${machine.name}'.`);
    if (machine.continues !== undefined) {
      output.line(`${machine.continues} is this machine after it was booted again; its job goes on.`);
    }
    if (machine.replaced !== undefined) {
      output.line(`${machine.replaced}, the same machine before it was booted again, had this name and is forgotten.`);
    }
    return EXIT.ok;
  },
};
