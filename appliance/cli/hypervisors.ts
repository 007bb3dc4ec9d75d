import Type from 'typebox';
import { Hypervisor } from '../api/rest.ts';
import type { Command } from './command.ts';
import { EXIT } from './exit-codes.ts';
import { formatBytes, type Output } from './output.ts';

export const hypervisors: Command = {
  name: 'hypervisors',
  summary: 'list hypervisors with their pools and networks',
  operands: [],
  options: {},
  async run({ client, output }) {
    const list = await client.get('/hypervisors', Type.Array(Hypervisor));
    if (output.json) output.value(list);
    else for (const hypervisor of list) print(output, hypervisor);
    return EXIT.ok;
  },
};

function print(output: Output, { name, uri, reachable, type, error, ...facts }: Hypervisor): void {
  output.line(`${name}  ${uri}  ${reachable ? (type ?? '') : `unreachable: ${error ?? ''}`}`);
  if (!reachable) return;
  output.line(`  acceleration  ${facts.acceleration ?? 'unknown'} (${facts.accelerationReason ?? ''})`);
  for (const pool of facts.pools) {
    const room = `${formatBytes(pool.availableBytes)} of ${formatBytes(pool.capacityBytes)} free`;
    output.line(`  pool          ${pool.name}  ${pool.active ? room : 'inactive'}`);
  }
  for (const network of facts.networks) {
    output.line(`  network       ${network.name}  ${network.kind}${network.active ? '' : ', inactive'}`);
  }
}
