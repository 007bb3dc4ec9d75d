/** Thread of a disk's tender: it does what the session tells it, one command after the other. */
import { parentPort } from 'node:worker_threads';
import { assignment } from '../../appliance/api/threads.ts';
import { openTarget } from '../target/open.ts';
import type { TargetSpec } from '../target/target.ts';
import { Journal } from './journal.ts';
import { Pace } from './pace.ts';
import { PatientTarget } from './patient-target.ts';
import { SessionFlags, type TargetCommand, type TargetWork } from './shared.ts';
import { Tender } from './tender.ts';

const work = await assignment<TargetWork>();
const flags = new SessionFlags(work.flags);
const pace = new Pace(work.pace);
const target = patient(work.target);
const journal = work.journal
  ? Journal.open(patient({ kind: 'device', path: work.journal.path }), work.journal.order, work.disk)
  : undefined;
const tender = new Tender({
  target,
  journal,
  flags,
  pace,
  snapshot: work.journal?.order.snapshot ?? '',
  flushEveryMs: work.flushEveryMs,
});

function patient(spec: TargetSpec): PatientTarget {
  return new PatientTarget(openTarget(spec), pace, () => flags.check());
}

parentPort?.on('message', (command: TargetCommand) => {
  if (command.kind !== 'end') {
    parentPort?.postMessage(tender.obey(command));
    return;
  }
  journal?.close();
  target.close();
  parentPort?.close();
});
