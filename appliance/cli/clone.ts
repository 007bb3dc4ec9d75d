import { JobView } from '../api/rest.ts';
import { given, numberOption, operand, sizeOption, textOption, usageError } from './arguments.ts';
import type { Command } from './command.ts';
import { EXIT } from './exit-codes.ts';
import { follow } from './follow.ts';
import { LIMIT_HELP, LIMIT_OPTIONS, limitsOf } from './limit.ts';

const MS_PER_SECOND = 1000;

export const clone: Command = {
  name: 'clone',
  summary: 'copy a machine to a virtual machine and prove that it boots',
  operands: ['MACHINE'],
  options: {
    name: { type: 'string' },
    hypervisor: { type: 'string' },
    pool: { type: 'string' },
    network: { type: 'string' },
    disks: { type: 'string' },
    address: { type: 'string' },
    cpus: { type: 'string' },
    memory: { type: 'string' },
    connections: { type: 'string' },
    full: { type: 'boolean' },
    'on-read-error': { type: 'string' },
    ...LIMIT_OPTIONS,
    'proof-deadline': { type: 'string' },
    'keep-running': { type: 'boolean' },
    watch: { type: 'boolean' },
  },
  optionHelp: {
    '--name NAME': 'name of the target VM (required)',
    '--hypervisor NAME': 'where it is made; the first of the configuration',
    '--pool POOL': "storage pool; the hypervisor's default",
    '--network NETWORK': "network of the target VM after the proof; the hypervisor's default",
    '--disks sda,sdb': 'source disks; all of them',
    '--address keep|dhcp': "keep the guest's addresses, or make every network card ask for one",
    '--cpus N': "the source's",
    '--memory SIZE': "the source's; for example 4G",
    '--connections N': 'data connections, 1 to 8',
    '--full': 'copy every block, also those that the file systems say are free',
    '--on-read-error fail|record':
      'what becomes of ranges that the source cannot read: the job fails, or they are recorded and are zeros',
    ...LIMIT_HELP,
    '--proof-deadline SECONDS': 'how long the target VM has to prove that it boots',
    '--keep-running': 'leave it running on the isolated network after the proof',
    '--watch': 'stay and show the progress; the exit code tells how the job ended',
  },
  async run({ client, output, operands, values }) {
    const name = textOption(values, 'name');
    if (name === undefined) throw usageError('--name is required.');
    const limits = limitsOf(values);
    const proofSeconds = numberOption(values, 'proof-deadline');
    const order = {
      machine: operand(operands, 0),
      name,
      ...given({
        hypervisor: textOption(values, 'hypervisor'),
        pool: textOption(values, 'pool'),
        network: textOption(values, 'network'),
        disks: textOption(values, 'disks')?.split(','),
        address: textOption(values, 'address'),
        cpus: numberOption(values, 'cpus'),
        memoryBytes: sizeOption(values, 'memory'),
        connections: numberOption(values, 'connections'),
        allocation: values.full === true ? 'full' : undefined,
        onReadError: textOption(values, 'on-read-error'),
        ...limits,
        bytesPerSecond: limits.bytesPerSecond ?? undefined,
        proofDeadlineMs: proofSeconds === undefined ? undefined : proofSeconds * MS_PER_SECOND,
        keepRunning: values['keep-running'] === true ? true : undefined,
      }),
    };
    const view = await client.post('/jobs', order, JobView);
    const { job } = view;
    if (values.watch === true) {
      if (!output.json) output.line(`Job ${job.id} copies '${job.machineId}' to '${job.order.name}'.`);
      return await follow(client, output, job.id);
    }
    if (output.json) output.value(view);
    else {
      output.line(`Job ${job.id} copies '${job.machineId}' to '${job.order.name}'; 'rehost watch ${job.id}' shows it.`);
      for (const warning of job.warnings) output.line(`warning: ${warning}`);
    }
    return EXIT.ok;
  },
};
