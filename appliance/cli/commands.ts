/** Every command, in the order of the help. */
import { approve } from './approve.ts';
import { cancel } from './cancel.ts';
import { clone } from './clone.ts';
import type { Command } from './command.ts';
import { forget } from './forget.ts';
import { health } from './health.ts';
import { hypervisors } from './hypervisors.ts';
import { jobs } from './jobs.ts';
import { log } from './log.ts';
import { machines } from './machines.ts';
import { retry } from './retry.ts';
import { show } from './show.ts';
import { token } from './token.ts';
import { watch } from './watch.ts';

export const COMMANDS: readonly Command[] = [
  machines,
  approve,
  forget,
  clone,
  jobs,
  show,
  watch,
  log,
  cancel,
  retry,
  hypervisors,
  health,
  token,
];
