/** The serial console of a VM in memory. */
import type { ConsoleReader } from '../../../appliance/hypervisor/driver.ts';

export class MemoryConsole implements ConsoleReader {
  readonly #said: Buffer[] = [];
  #waiting: ((bytes: Buffer | undefined) => void) | undefined;
  #ended = false;

  say(text: string): void {
    const bytes = Buffer.from(text);
    if (this.#waiting) this.#answer(bytes);
    else this.#said.push(bytes);
  }

  end(): void {
    this.#ended = true;
    if (this.#waiting) this.#answer(undefined);
  }

  async read(): Promise<Buffer | undefined> {
    const next = this.#said.shift();
    if (next || this.#ended) return next;
    return await new Promise((resolve) => {
      this.#waiting = resolve;
    });
  }

  async close(): Promise<void> {
    this.end();
  }

  #answer(bytes: Buffer | undefined): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.(bytes);
  }
}
