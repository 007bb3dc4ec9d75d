import Type from 'typebox';
import { JobView } from '../api/rest.ts';
import type { Command } from './command.ts';
import { EXIT } from './exit-codes.ts';
import { stateOf } from './job-view.ts';

export const jobs: Command = {
  name: 'jobs',
  summary: 'list jobs',
  operands: [],
  options: {},
  async run({ client, output }) {
    const list = await client.get('/jobs', Type.Array(JobView));
    if (output.json) output.value(list);
    else {
      const rows = list.map((view) => {
        const { id, machineId, order, hypervisor, createdAt } = view.job;
        return [id, stateOf(view), machineId, order.name, hypervisor, createdAt];
      });
      output.table(['ID', 'STATE', 'MACHINE', 'TARGET', 'HYPERVISOR', 'CREATED'], rows);
    }
    return EXIT.ok;
  },
};
