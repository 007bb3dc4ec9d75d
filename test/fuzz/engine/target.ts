/** What the engine knows of the code that it fuzzes. */
import type { Random } from './random.ts';

export interface FuzzTarget {
  /** Folder of its corpus. */
  readonly name: string;
  /** A valid record, to be put in anywhere; the first record is made by `first`. */
  readonly message: (random: Random) => Buffer;
  /** The first record of an input: what is chosen before the other side speaks. */
  readonly first: (random: Random) => Buffer;
  /** Inputs to begin with where there is no corpus: of valid courses. */
  readonly seeds: () => Buffer[][];
  /**
   * Runs one input. Returns a short word for what came of it, as a sign of new behaviour. Throws Violation, or anything
   * else that the code under test should not have thrown. The same input always does the same.
   */
  readonly run: (records: readonly Buffer[]) => string;
}
