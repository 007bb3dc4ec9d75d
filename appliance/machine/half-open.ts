/** Bounds on channels that have not proved anything yet: a flood of them must not crowd out the machines that have. */

/** In all; a channel holds at most one frame, so this bounds memory too. */
const HALF_OPEN_MAX = 128;
/** From one address, so that a single machine cannot take all of them. */
const HALF_OPEN_PER_ADDRESS = 16;

export class HalfOpen {
  readonly #byAddress = new Map<string, number>();
  #all = 0;

  /** Takes a place; answers how to give it back (once is enough, twice is harmless), or undefined where there is none. */
  enter(address: string): (() => void) | undefined {
    const here = this.#byAddress.get(address) ?? 0;
    if (this.#all >= HALF_OPEN_MAX || here >= HALF_OPEN_PER_ADDRESS) return undefined;
    this.#all++;
    this.#byAddress.set(address, here + 1);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#all--;
      const left = (this.#byAddress.get(address) ?? 1) - 1;
      if (left > 0) this.#byAddress.set(address, left);
      else this.#byAddress.delete(address);
    };
  }
}
