/** Which handler serves which state: states that end a job have none. */
import type { JobState } from '../api/job.ts';
import type { Handler } from './context.ts';
import { cleanUp } from './states/clean-up.ts';
import { convert } from './states/convert.ts';
import { copy } from './states/copy.ts';
import { defineTarget } from './states/define-target.ts';
import { handOver } from './states/hand-over.ts';
import { overlay } from './states/overlay.ts';
import { prove } from './states/prove.ts';
import { provision } from './states/provision.ts';
import { recheck } from './states/recheck.ts';
import { recheckEnd } from './states/recheck-end.ts';
import { startTransfer } from './states/start-transfer.ts';
import { stopTransfer } from './states/stop-transfer.ts';
import { verify } from './states/verify.ts';

export const HANDLERS: Readonly<Partial<Record<JobState, Handler>>> = {
  provision,
  'start-transfer': startTransfer,
  copy,
  verify,
  overlay,
  convert,
  'stop-transfer': stopTransfer,
  'define-target': defineTarget,
  prove,
  'hand-over': handOver,
  'clean-up': cleanUp,
  recheck,
  'recheck-end': recheckEnd,
};
