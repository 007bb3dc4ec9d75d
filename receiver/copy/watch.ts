/** How long each phase of a copy may go without progress, and what is said when it went on for longer. */
import { RehostError } from '../../appliance/api/errors.ts';
import { ProgressClock } from './clock.ts';
import { MAP_DEADLINE_MS } from './shared.ts';

/**
 * How long a copy waits without progress before it fails, ms. `meeting`: until the first connection that has the key.
 * `mapping`: while a connection waits for a disk's map, which on large rotating disks takes minutes and longer; a dead
 * connection is noticed by itself. `copying`: without any content, over all connections and their renewals.
 * `storing`: while nothing is left but the storage's own work, zeros of the holes and flushes. `standing`: paused, or without
 * room on the storage: that is for a person to end.
 */
const BOUNDS = {
  meeting: 15 * 60_000,
  mapping: MAP_DEADLINE_MS,
  copying: 300_000,
  storing: 10 * 60_000,
  standing: Number.POSITIVE_INFINITY,
} as const;
export type Phase = keyof typeof BOUNDS;

export class Watch {
  readonly #bounds: Record<Phase, number>;
  readonly #clock: ProgressClock<Phase>;

  constructor(bounds: Partial<Record<Phase, number>>) {
    this.#bounds = { ...BOUNDS, ...bounds };
    this.#clock = new ProgressClock(this.#bounds, performance.now());
  }

  /** To be called once a second. The failure when this phase went on for too long with the same `seen`; `last` is why a connection failed. */
  look(phase: Phase, seen: number, last: string): RehostError | undefined {
    if (!this.#clock.look(phase, seen, performance.now())) return undefined;
    const seconds = `${Math.round(this.#bounds[phase] / 1000)} s`;
    if (phase === 'storing') {
      const what = "All is copied, but the replicas' storage neither zeroed nor flushed anything";
      return new RehostError('TARGET_WRITE_FAILED', `${what} for ${seconds}.`);
    }
    const none = phase === 'meeting' ? 'Nobody connected.' : 'The connection stood; source or target hang.';
    const why = last === '' ? none : `Last: ${last}`;
    const what = phase === 'mapping' ? 'No allocation map came' : 'Nothing was copied';
    return new RehostError('TRANSFER_FAILED', `${what} for ${seconds}. ${why}`);
  }
}
