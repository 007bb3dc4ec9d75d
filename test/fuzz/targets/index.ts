/** All targets. They are imported after the coverage counters run, see child/main.ts. */
import type { FuzzTarget } from '../engine/target.ts';
import { allocation } from './allocation.ts';
import { clientNegotiation } from './client-negotiation.ts';
import { clientReplies } from './client-replies.ts';
import { opening } from './opening.ts';
import { pull } from './pull.ts';
import { negotiation, transmission } from './server.ts';

export const targets: readonly FuzzTarget[] = [
  negotiation,
  transmission,
  clientNegotiation,
  clientReplies,
  opening,
  pull,
  allocation,
];
