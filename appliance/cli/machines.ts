import Type from 'typebox';
import { Machine } from '../api/rest.ts';
import type { Command } from './command.ts';
import { EXIT } from './exit-codes.ts';
import { formatBytes } from './output.ts';

export const machines: Command = {
  name: 'machines',
  summary: 'list source machines, also those that wait for approval',
  operands: [],
  options: {},
  notes: ["A machine that waits shows its pairing code on its own screen: 'rehost approve MACHINE CODE'."],
  async run({ client, output }) {
    const list = await client.get('/machines', Type.Array(Machine));
    if (output.json) output.value(list);
    else output.table(['ID', 'NAME', 'STATE', 'ADDRESS', 'CPUS', 'MEMORY', 'DISKS'], list.map(row));
    return EXIT.ok;
  },
};

function row({ id, name, approved, online, address, inventory }: Machine): string[] {
  const state = `${approved ? '' : 'waits for approval, '}${online ? 'online' : 'offline'}`;
  const disks = inventory.disks.map((disk) => `${disk.name} ${formatBytes(disk.sizeBytes)}`).join(', ');
  return [id, name, state, address, String(inventory.cpu.cores), formatBytes(inventory.memoryBytes), disks];
}
