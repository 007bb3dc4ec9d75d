/**
 * Leaving a disk to whoever else needs it: when reads take several times what they took at first, somebody does. Pure; times in ms.
 */

/** Reads from which the disk's own speed is learned. */
const LEARN_READS = 32;
/** Weight of the newest read. */
const WEIGHT = 1 / 8;
/** A disk is taken as busy when reads take so many times what they took when it was not. */
const BUSY_FACTOR = 3;
/** Reads faster than this are never worth a pause: the queue of a busy disk is longer, ms. */
const BUSY_MIN_MS = 10;
/** Of a busy disk's time so much is left to others: after a read of 20 ms it is left alone for 60 ms. */
const PAUSE_FACTOR = 3;
const PAUSE_MAX_MS = 2_000;

export class BackOff {
  #reads = 0;
  #calmMs = Number.POSITIVE_INFINITY;
  #nowMs = 0;

  /** A read took so long. Answers how long to pause before the next, ms. */
  after(ms: number): number {
    this.#nowMs = this.#reads === 0 ? ms : this.#nowMs + (ms - this.#nowMs) * WEIGHT;
    this.#reads++;
    if (this.#reads < LEARN_READS) return 0;
    // The calmest that was seen: a disk that was busy from the beginning is recognised once it was not for a moment.
    this.#calmMs = Math.min(this.#calmMs, this.#nowMs);
    const busy = this.#nowMs > BUSY_MIN_MS && this.#nowMs > BUSY_FACTOR * this.#calmMs;
    return busy ? Math.min(PAUSE_MAX_MS, ms * PAUSE_FACTOR) : 0;
  }
}
