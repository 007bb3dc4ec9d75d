/** How long one may wait for progress, by what is waited for. */

/** Between two looks no more than this counts, ms: a VM that was paused for an hour has not waited for an hour. */
const LOOK_MAX_MS = 10_000;

/** Fed by `look` again and again; each phase has its own bound, ms. */
export class ProgressClock<Phase extends string> {
  readonly #bounds: Readonly<Record<Phase, number>>;
  readonly #waited = new Map<Phase, number>();
  #seen: number | undefined;
  #last: number;

  /** `now`: performance.now(), ms. */
  constructor(bounds: Readonly<Record<Phase, number>>, now: number) {
    this.#bounds = bounds;
    this.#last = now;
  }

  /**
   * True when this phase, together with its earlier spells, waited for its bound without any progress. `seen` is any figure
   * that changes with progress; when it does, all phases begin anew. The time of other phases does not count.
   */
  look(phase: Phase, seen: number, now: number): boolean {
    const elapsed = Math.min(LOOK_MAX_MS, now - this.#last);
    this.#last = now;
    if (seen !== this.#seen) {
      this.#seen = seen;
      this.#waited.clear();
      return false;
    }
    const waited = (this.#waited.get(phase) ?? 0) + elapsed;
    this.#waited.set(phase, waited);
    return waited >= this.#bounds[phase];
  }
}
