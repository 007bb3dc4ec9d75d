/** A rate over the last seconds. */

/** Long enough to even out bursts of flushes, short enough to show a change of the limit, ms. */
const WINDOW_MS = 8000;

export class Rate {
  readonly #samples: { at: number; bytes: number }[] = [];

  /** Takes one more reading of a counter; answers bytes per second over the window. A counter that went back begins anew. */
  add(bytes: number, at: number = performance.now()): number {
    const last = this.#samples.at(-1);
    if (last && bytes < last.bytes) this.#samples.length = 0;
    this.#samples.push({ at, bytes });
    // The newest sample that is older than the window stays: the rate is over at least the window.
    while ((this.#samples[1]?.at ?? at) <= at - WINDOW_MS) this.#samples.shift();
    const [first] = this.#samples;
    if (!first || at <= first.at) return 0;
    return ((bytes - first.bytes) * 1000) / (at - first.at);
  }
}

/** Seconds until `left` bytes are done at this rate; null while nothing moves. */
export function secondsLeft(left: number, bytesPerSecond: number): number | null {
  return bytesPerSecond > 0 ? left / bytesPerSecond : null;
}
