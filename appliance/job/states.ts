/** The table of a job's states. Handlers are files named after their state in states/. */
import type { JobState } from '../api/job.ts';

interface StateRow {
  /** What happens in it, for a person. */
  readonly does: string;
  /** Where a job that went well goes next; null ends it. */
  readonly next: JobState | null;
  /** Where a failure or a cancel leads. */
  readonly otherwise: JobState | null;
}

/** Every transition is written and fsynced before it is acted on, and every handler may be entered again from its beginning. */
export const STATES: Readonly<Record<JobState, StateRow>> = {
  preflight: { does: 'checks what could go wrong before the first byte', next: 'provision', otherwise: 'clean-up' },
  provision: { does: 'makes the replica volumes and the config disk', next: 'start-transfer', otherwise: 'clean-up' },
  'start-transfer': { does: 'starts the transfer VM; its receiver dials in', next: 'copy', otherwise: 'clean-up' },
  copy: { does: 'copies the blocks in use', next: 'verify', otherwise: 'clean-up' },
  verify: { does: 're-reads the replica and compares hashes', next: 'overlay', otherwise: 'clean-up' },
  overlay: { does: 'puts overlays on the replicas', next: 'convert', otherwise: 'clean-up' },
  convert: { does: 'makes the copy boot as a virtual machine', next: 'stop-transfer', otherwise: 'clean-up' },
  'stop-transfer': { does: 'destroys the transfer VM', next: 'define-target', otherwise: 'clean-up' },
  'define-target': { does: 'defines the target VM on the isolated network', next: 'prove', otherwise: 'clean-up' },
  prove: { does: 'boots the target VM until it proves itself', next: 'hand-over', otherwise: 'clean-up' },
  'hand-over': { does: 'shuts the target VM down and connects it to its network', next: 'done', otherwise: 'clean-up' },
  done: { does: 'the target VM is there and has proved that it boots', next: null, otherwise: null },
  'clean-up': { does: 'removes what the job made', next: 'failed', otherwise: 'clean-up' },
  failed: { does: 'ended without a target VM', next: null, otherwise: null },
  cancelled: { does: 'ended because a person asked for it', next: null, otherwise: null },
};

/** Has a job in this state ended? */
export function hasEnded(state: JobState): boolean {
  return STATES[state].next === null;
}
