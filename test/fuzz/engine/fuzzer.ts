/** The loop of one target: change an input, run it, keep it when it reached something new. */
import { join } from 'node:path';
import type { Coverage, Reached } from './coverage.ts';
import type { Current } from './current.ts';
import { CORPUS, inputsIn, keep, OUT } from './files.ts';
import { liveBytes } from './guarded-memory.ts';
import { mutate } from './mutate.ts';
import { Random } from './random.ts';
import { decode, encode } from './records.ts';
import type { FuzzTarget } from './target.ts';
import { must } from './violation.ts';

/** Inputs between two looks at the coverage. */
const GROUP = 16;
/** Native memory that a target may keep from one input to the next beyond what it had when it was warm, bytes. */
const KEPT_MAX_BYTES = 48 * 1024 * 1024;
const RSS_MAX_BYTES = 2 * 1024 ** 3;
const SHRINK_RUNS_MAX = 400;

/** What a run of a target came to. */
export interface Result {
  target: string;
  runs: number;
  seconds: number;
  corpus: number;
  reached: Reached[];
  /** Lines that nothing reached. */
  missed: { file: string; lines: number[] }[];
  failure: Failure | undefined;
}

export interface Failure {
  path: string;
  message: string;
}

export class Fuzzer {
  readonly #target: FuzzTarget;
  readonly #coverage: Coverage;
  readonly #current: Current;
  readonly #corpus: Buffer[][] = [];
  readonly #outcomes = new Set<string>();
  #kept = 0;
  runs = 0;

  constructor(target: FuzzTarget, coverage: Coverage, current: Current) {
    this.#target = target;
    this.#coverage = coverage;
    this.#current = current;
  }

  /** Everything that is known: seeds, what the repository has, what earlier runs found. */
  static inputs(target: FuzzTarget): Buffer[] {
    return [
      ...target.seeds().map(encode),
      ...inputsIn(join(CORPUS, target.name)),
      ...inputsIn(join(OUT, 'corpus', target.name)),
    ].sort((a, b) => a.length - b.length);
  }

  /** Runs one input; throws what it throws. True when its outcome was never seen. */
  #run(input: Buffer): boolean {
    this.runs++;
    this.#current.note(input);
    const outcome = this.#target.run(decode(input));
    const fresh = !this.#outcomes.has(outcome);
    this.#outcomes.add(outcome);
    return fresh;
  }

  /** Runs what is known, and gives those inputs back that add something. */
  warmUp(inputs: readonly Buffer[]): { added: Buffer[]; failure: Failure | undefined } {
    const added: Buffer[] = [];
    this.#coverage.take(true);
    for (const input of inputs) {
      try {
        const fresh = this.#run(input);
        if (!this.#coverage.take(true) && !fresh) continue;
      } catch (error) {
        return { added, failure: this.#fail(input, error) };
      }
      added.push(input);
      this.#corpus.push(decode(input));
    }
    this.#kept = liveBytes();
    return { added, failure: undefined };
  }

  /** Until `seconds` are over or something broke. */
  fuzz(seconds: number, seed: number): Failure | undefined {
    const random = new Random(seed);
    const end = performance.now() + seconds * 1000;
    while (performance.now() < end) {
      const group: Buffer[] = [];
      const fresh = new Set<Buffer>();
      for (let i = 0; i < GROUP; i++) {
        const input = this.#changed(random);
        try {
          if (this.#run(input)) fresh.add(input);
          must(liveBytes() <= this.#kept + KEPT_MAX_BYTES, 'native memory is kept from input to input');
        } catch (error) {
          return this.#fail(input, error);
        }
        group.push(input);
      }
      must(process.memoryUsage.rss() < RSS_MAX_BYTES, 'the process takes more and more memory');
      if (!this.#coverage.take(false) && fresh.size === 0) continue;
      // One of them reached something: which one?
      for (const input of group) {
        this.#run(input);
        if (this.#coverage.take(true) || fresh.has(input)) this.#add(input);
      }
    }
    return undefined;
  }

  #changed(random: Random): Buffer {
    // New inputs are the ones with unknown neighbours.
    const recent = Math.max(0, this.#corpus.length - 8);
    const index = random.once(3)
      ? recent + random.below(this.#corpus.length - recent)
      : random.below(this.#corpus.length);
    const other = this.#corpus[random.below(this.#corpus.length)] ?? [];
    return encode(mutate(this.#corpus[index] ?? [], random, other, this.#target));
  }

  #add(input: Buffer): void {
    this.#corpus.push(decode(input));
    keep(join(OUT, 'corpus', this.#target.name), '', input);
  }

  /** Makes the input smaller as long as it breaks in the same way, and writes it. */
  #fail(input: Buffer, error: unknown): Failure {
    const message = said(error);
    let small = decode(input);
    let runs = 0;
    const breaks = (records: Buffer[]): boolean => {
      if (++runs > SHRINK_RUNS_MAX) return false;
      try {
        this.#run(encode(records));
      } catch (again) {
        return said(again) === message;
      }
      return false;
    };
    for (let size = Math.ceil(small.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
      for (let at = small.length - size; at >= 1; at -= size) {
        const without = [...small.slice(0, at), ...small.slice(at + size)];
        if (breaks(without)) small = without;
      }
    }
    const smallest = encode(small);
    const path = keep(OUT, `crash-${this.#target.name}-`, breaks(small) ? smallest : input);
    return { path, message: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }

  result(seconds: number, failure: Failure | undefined, readSource: (url: string) => string): Result {
    return {
      target: this.#target.name,
      runs: this.runs,
      seconds,
      corpus: this.#corpus.length,
      reached: this.#coverage.reached(),
      missed: this.#coverage.missed(readSource),
      failure,
    };
  }
}

function said(error: unknown): string {
  return (error instanceof Error ? `${error.name}: ${error.message}` : String(error)).replace(/[0-9]+/g, '#');
}
