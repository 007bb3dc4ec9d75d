/**
 * Is compressing worth it now? By what was measured on this connection: what a byte costs to send (a slow link makes it dear), what
 * it costs to compress, and by how much data shrinks of late. Everything here is pure; times are nanoseconds.
 */

/** Weight of the newest measure: some 4 MiB of steps are remembered. */
const WEIGHT = 1 / 16;
/** While compression is off, one step in so many is compressed all the same, to see whether it pays by now. */
const PROBE_EVERY = 32;
/** It must save at least this share of the time, else the CPU is better left to others. */
const GAIN_MIN = 0.05;

export class CompressionPolicy {
  /** Of one byte on the wire, ns; undefined until something was sent. */
  #sendNs: number | undefined;
  /** Of one byte of content, ns. */
  #compressNs: number | undefined;
  /** Frame length by content length; 1: does not shrink. */
  #ratio: number | undefined;
  #sinceProbe = 0;

  /** Whether the next step is to be compressed. */
  want(): boolean {
    if (this.#pays()) return true;
    this.#sinceProbe++;
    if (this.#sinceProbe < PROBE_EVERY) return false;
    this.#sinceProbe = 0;
    return true;
  }

  #pays(): boolean {
    if (this.#sendNs === undefined || this.#compressNs === undefined || this.#ratio === undefined) return false;
    return this.#compressNs + this.#ratio * this.#sendNs < this.#sendNs * (1 - GAIN_MIN);
  }

  /** `bytes` on the wire took so long to be taken by the connection. */
  sent(bytes: number, ns: number): void {
    if (bytes > 0) this.#sendNs = smooth(this.#sendNs, ns / bytes);
  }

  /** A step of `bytes` became a frame of `frame` bytes (`bytes` when it did not shrink), in so long. */
  compressed(bytes: number, frame: number, ns: number): void {
    this.#compressNs = smooth(this.#compressNs, ns / bytes);
    this.#ratio = smooth(this.#ratio, frame / bytes);
  }
}

function smooth(before: number | undefined, now: number): number {
  return before === undefined ? now : before + (now - before) * WEIGHT;
}
