/** A target whose storage may run full: who writes to it waits for room instead of failing, and the copy says that it waits. */
import { RehostError } from '../../appliance/api/errors.ts';
import type { Address } from '../../native/memory.ts';
import type { Target } from '../target/target.ts';
import type { Pace } from './pace.ts';

/** Between two tries, ms: somebody has to make room first. */
const RETRY_MS = 5_000;

/** Owned by the thread that made it; closes the target that it was given. */
export class PatientTarget implements Target {
  readonly sizeBytes: number;
  readonly sectorBytes: number;
  readonly #target: Target;
  readonly #pace: Pace;
  readonly #check: () => void;

  /** `check` throws to give up waiting. */
  constructor(target: Target, pace: Pace, check: () => void) {
    this.#target = target;
    this.#pace = pace;
    this.#check = check;
    this.sizeBytes = target.sizeBytes;
    this.sectorBytes = target.sectorBytes;
  }

  write(address: Address, offset: number, length: number): void {
    this.#patiently(() => this.#target.write(address, offset, length));
  }

  zero(offset: number, length: number): void {
    this.#patiently(() => this.#target.zero(offset, length));
  }

  /** A flush that found no room (POOL_FULL) has lost writes that had been accepted: a second one would say that all is well. */
  flush(): void {
    this.#target.flush();
  }

  dropCaches(): void {
    this.#target.dropCaches();
  }

  read(address: Address, offset: number, length: number): void {
    this.#target.read(address, offset, length);
  }

  close(): void {
    this.#target.close();
  }

  #patiently(write: () => void): void {
    for (;;) {
      try {
        write();
        return;
      } catch (error) {
        if (!(error instanceof RehostError) || error.code !== 'POOL_FULL') throw error;
      }
      this.#pace.waitForRoom(RETRY_MS, this.#check);
    }
  }
}
