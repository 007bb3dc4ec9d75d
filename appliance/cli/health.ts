import { Health } from '../api/rest.ts';
import type { Command } from './command.ts';
import { EXIT } from './exit-codes.ts';

export const health: Command = {
  name: 'health',
  summary: 'say whether rehostd answers',
  operands: [],
  options: {},
  async run({ client, output }) {
    const facts = await client.get('/health', Health);
    if (output.json) output.value(facts);
    else output.line(`rehostd ${facts.version}: ${facts.machines} machines, ${facts.jobsRunning} jobs running.`);
    return facts.ok ? EXIT.ok : EXIT.failed;
  },
};
