/**
 * How fast all threads of a copy may go, and whether they may go on at all: the limit on the wire, the pause that a person asked for,
 * and storage that has no room. Set by the session, obeyed between the steps of a block.
 */

const PAUSED = 0;
/** Threads that wait for room. */
const FULL = 1;
/** Those of them for which all others have to wait. */
const HELD = 2;
const FLAGS = 3;
/** Bytes per second; 0: no limit. */
const LIMIT = 0;
/** When the next byte may come, ns of the monotonic clock that all threads share. */
const NEXT = 1;
const NUMBERS = 2;

/** One wait, so that a change of mind is noticed, ms. */
const SLICE_MS = 100;
/** Bytes that were saved up while nothing came may come at once, as time: longer would be a burst above the limit, ns. */
const BURST_NS = 200_000_000n;

/** Waited on to sleep: nothing ever changes or wakes it. */
const STILL = new Int32Array(new SharedArrayBuffer(4));

export interface PaceShared {
  flags: SharedArrayBuffer;
  numbers: SharedArrayBuffer;
}

export class Pace {
  readonly shared: PaceShared;
  readonly #flags: Int32Array<SharedArrayBuffer>;
  readonly #numbers: BigInt64Array<SharedArrayBuffer>;

  constructor(
    shared: PaceShared = { flags: new SharedArrayBuffer(4 * FLAGS), numbers: new SharedArrayBuffer(8 * NUMBERS) },
  ) {
    this.shared = shared;
    this.#flags = new Int32Array(shared.flags);
    this.#numbers = new BigInt64Array(shared.numbers);
  }

  /** Bytes per second on the wire, all connections together; null: no limit. */
  limit(bytesPerSecond: number | null): void {
    Atomics.store(this.#numbers, LIMIT, BigInt(bytesPerSecond ?? 0));
    // A debt under the old limit is not to be paid at the new one.
    Atomics.store(this.#numbers, NEXT, 0n);
  }

  get paused(): boolean {
    return Atomics.load(this.#flags, PAUSED) !== 0;
  }

  pause(paused: boolean): void {
    Atomics.store(this.#flags, PAUSED, paused ? 1 : 0);
    Atomics.notify(this.#flags, PAUSED);
  }

  /** Threads that wait for room on the storage. */
  get full(): boolean {
    return Atomics.load(this.#flags, FULL) > 0;
  }

  /** Nothing more is to be asked for now: it is paused, or a flush waits for room. */
  get standing(): boolean {
    return this.paused || Atomics.load(this.#flags, HELD) > 0;
  }

  /** Blocks this thread while the copy stands. `check` throws to give up. */
  waitWhileStanding(check: () => void): void {
    while (this.standing) {
      check();
      if (this.paused) Atomics.wait(this.#flags, PAUSED, 1, SLICE_MS);
      else Atomics.wait(STILL, 0, 0, SLICE_MS);
    }
  }

  /** Blocks this thread for `ms`; counted as waiting for room. */
  waitForRoom(ms: number, check: () => void): void {
    Atomics.add(this.#flags, FULL, 1);
    try {
      this.#sleep(ms, check);
    } finally {
      Atomics.sub(this.#flags, FULL, 1);
    }
  }

  /** The same, and nobody asks for more meanwhile. */
  holdForRoom(ms: number, check: () => void): void {
    Atomics.add(this.#flags, HELD, 1);
    try {
      this.waitForRoom(ms, check);
    } finally {
      Atomics.sub(this.#flags, HELD, 1);
    }
  }

  /** So many bytes came over the wire: blocks this thread until the next ones may. */
  spend(bytes: number, check: () => void): void {
    const limit = Atomics.load(this.#numbers, LIMIT);
    if (limit === 0n) return;
    const cost = (BigInt(bytes) * 1_000_000_000n) / limit;
    for (;;) {
      const now = process.hrtime.bigint();
      const next = Atomics.load(this.#numbers, NEXT);
      const from = next < now - BURST_NS ? now - BURST_NS : next;
      if (Atomics.compareExchange(this.#numbers, NEXT, next, from + cost) !== next) continue;
      // The limit changed in between: nobody pays a debt under the old one.
      if (Atomics.load(this.#numbers, LIMIT) !== limit) {
        Atomics.store(this.#numbers, NEXT, 0n);
        return;
      }
      const waitNs = from + cost - now;
      // Another limit ends a wait under the old one.
      const same = (): boolean => Atomics.load(this.#numbers, LIMIT) === limit;
      if (waitNs > 0n) this.#sleep(Number(waitNs) / 1e6, check, same);
      return;
    }
  }

  #sleep(ms: number, check: () => void, on: () => boolean = () => true): void {
    const end = performance.now() + ms;
    for (let left = ms; left > 0 && on(); left = end - performance.now()) {
      check();
      Atomics.wait(STILL, 0, 0, Math.min(SLICE_MS, left));
    }
  }
}
