/** Bounds on what strangers hold open: in all, and from one address, so that a single machine cannot take what all need. */

export class Places {
  readonly #byAddress = new Map<string, number>();
  readonly #max: number;
  readonly #maxPerAddress: number;
  #all = 0;

  constructor(max: number, maxPerAddress: number) {
    this.#max = max;
    this.#maxPerAddress = maxPerAddress;
  }

  /** Takes a place; answers how to give it back (once is enough, twice is harmless), or undefined where there is none. */
  enter(address: string): (() => void) | undefined {
    const here = this.#byAddress.get(address) ?? 0;
    if (this.#all >= this.#max || here >= this.#maxPerAddress) return undefined;
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
