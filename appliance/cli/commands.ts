/** Every command, in the order of the help. */
import { approve } from './approve.ts';
import { cancel } from './cancel.ts';
import { clone } from './clone.ts';
import type { Command } from './command.ts';
import { forget } from './forget.ts';
import { health } from './health.ts';
import { hypervisors } from './hypervisors.ts';
import { jobs } from './jobs.ts';
import { limit } from './limit.ts';
import { log } from './log.ts';
import { machines } from './machines.ts';
import { pause } from './pause.ts';
import { resume } from './resume.ts';
import { retry } from './retry.ts';
import { show } from './show.ts';
import { token } from './token.ts';
import { verify } from './verify.ts';
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
  pause,
  resume,
  limit,
  cancel,
  retry,
  verify,
  hypervisors,
  health,
  token,
];
