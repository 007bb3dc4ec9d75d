/** The table of a job's states. Handlers are files named after their state in states/. */
import type { JobState } from '../api/job.ts';

interface StateRow {
  /** What happens in it, for a person. */
  readonly does: string;
  /** Where a job that went well goes next; null ends it. */
  readonly next: JobState | null;
  /** Where a failure or a cancel leads. */
  readonly otherwise: JobState | null;
  /** Where it goes back to when what an earlier state made is gone. */
  readonly again?: JobState;
  /** It obeys a pause itself while it runs; every other state is not entered while a pause is asked for. */
  readonly pausesItself?: true;
  /** It removes what was made: nobody interrupts it, and it is tried several times. */
  readonly cleans?: true;
}

/** Every transition is written and fsynced before it is acted on, and every handler may be entered again from its beginning. */
export const STATES: Readonly<Record<JobState, StateRow>> = {
  preflight: { does: 'checks what could go wrong before the first byte', next: 'provision', otherwise: 'clean-up' },
  provision: { does: 'makes the volumes and the config disk', next: 'start-transfer', otherwise: 'clean-up' },
  'start-transfer': { does: 'starts the transfer VM; its receiver dials in', next: 'copy', otherwise: 'clean-up' },
  copy: { does: 'copies the blocks in use', next: 'verify', otherwise: 'clean-up', pausesItself: true },
  verify: {
    does: 're-reads the replica and compares hashes',
    next: 'overlay',
    otherwise: 'clean-up',
    again: 'copy',
    pausesItself: true,
  },
  // The verified replicas are kept on the way back to a new transfer VM.
  overlay: { does: 'puts overlays on the replicas', next: 'convert', otherwise: 'clean-up', again: 'provision' },
  convert: {
    does: 'makes the copy boot as a virtual machine',
    next: 'stop-transfer',
    otherwise: 'clean-up',
    again: 'provision',
  },
  'stop-transfer': { does: 'destroys the transfer VM', next: 'define-target', otherwise: 'clean-up' },
  'define-target': { does: 'defines the target VM on the isolated network', next: 'prove', otherwise: 'clean-up' },
  prove: {
    does: 'boots the target VM until it proves itself',
    next: 'hand-over',
    otherwise: 'clean-up',
    pausesItself: true,
  },
  'hand-over': { does: 'shuts the target VM down and connects it to its network', next: 'done', otherwise: 'clean-up' },
  done: { does: 'the target VM is there and has proved that it boots', next: null, otherwise: null },
  'clean-up': { does: 'removes what the job made', next: 'failed', otherwise: 'clean-up', cleans: true },
  failed: { does: 'ended without a target VM', next: null, otherwise: null },
  cancelled: { does: 'ended because a person asked for it', next: null, otherwise: null },
  // A check of a job that has ended; afterwards it is what it was, `done` or `failed`.
  recheck: {
    does: 're-reads the replica and compares it with the manifest',
    next: 'recheck-end',
    otherwise: 'recheck-end',
    pausesItself: true,
  },
  'recheck-end': { does: 'removes what the check made', next: 'done', otherwise: 'done', cleans: true },
};

/** Has a job in this state ended? */
export function hasEnded(state: JobState): boolean {
  return STATES[state].next === null;
}

/** Does a job in this state only look at what it made when it ran? */
export function isRecheck(state: JobState): boolean {
  return state === 'recheck' || state === 'recheck-end';
}

/** Does a job in this state need its source machine, the name of its target VM and room in the pool? */
export function isWorking(state: JobState): boolean {
  return !hasEnded(state) && !isRecheck(state);
}
