import type { ParseArgsConfig } from 'node:util';
import { JobView } from '../api/rest.ts';
import { given, operand, rateOption, switchOption, textOption, usageError } from './arguments.ts';
import { segment } from './client.ts';
import type { Command, Values } from './command.ts';
import { EXIT } from './exit-codes.ts';
import { limitsLine } from './job-view.ts';

/** What may be changed while a job runs; an order takes the same. */
export const LIMIT_OPTIONS = {
  rate: { type: 'string' },
  priority: { type: 'string' },
  'back-off': { type: 'string' },
} as const satisfies NonNullable<ParseArgsConfig['options']>;

export const LIMIT_HELP = {
  '--rate SIZE|none': 'most that goes over the wire in a second; for example 50M',
  '--priority normal|low|idle': 'of the reads among what else the source machine does',
  '--back-off on|off': "pause while the source's disk is slow, because somebody else needs it",
};

/** What was given of them. */
export function limitsOf(values: Values) {
  return given({
    bytesPerSecond: rateOption(values, 'rate'),
    readPriority: textOption(values, 'priority'),
    backOff: switchOption(values, 'back-off'),
  });
}

export const limit: Command = {
  name: 'limit',
  summary: 'change how fast and how considerately a job copies, while it runs',
  operands: ['JOB'],
  options: LIMIT_OPTIONS,
  optionHelp: LIMIT_HELP,
  async run({ client, output, operands, values }) {
    const limits = limitsOf(values);
    if (Object.keys(limits).length === 0) throw usageError('Give at least one of --rate, --priority and --back-off.');
    const view = await client.patch(`/jobs/${segment(operand(operands, 0))}/limits`, limits, JobView);
    if (output.json) output.value(view);
    else output.line(`Job ${view.job.id}: ${limitsLine(view.job)}.`);
    return EXIT.ok;
  },
};
