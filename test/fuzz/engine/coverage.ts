/**
 * Which parts of the files under test run, from V8's own block counters (node:inspector, Profiler domain). Types are blanked
 * out, not removed, when Node runs TypeScript, so that V8's positions are those of the source file.
 */
import { type Profiler, Session } from 'node:inspector';
import { Violation } from './violation.ts';

/** How often a block ran, in classes: a loop that runs more often is new behaviour, each further time is not. */
function bucket(count: number): number {
  if (count < 2) return 1;
  if (count < 4) return 2;
  if (count < 16) return 4;
  return count < 128 ? 8 : 16;
}

interface Script {
  /** For each position the classes of counts that were seen, as bits. */
  seen: Uint8Array;
  /** 1 where there is code of a function: what is to be reached. */
  code: Uint8Array;
}

export interface Reached {
  file: string;
  /** Characters of function bodies. */
  code: number;
  reached: number;
}

/** Begins to count when it is made, which must be before the files under test are imported. */
export class Coverage {
  readonly #session = new Session();
  readonly #files: readonly string[];
  readonly #scripts = new Map<string, Script>();

  constructor(files: readonly string[]) {
    this.#files = files;
    this.#session.connect();
    this.#session.post('Profiler.enable');
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  #counts(): Profiler.ScriptCoverage[] {
    let counts: Profiler.ScriptCoverage[] | undefined;
    // A session in its own thread answers before `post` returns.
    this.#session.post('Profiler.takePreciseCoverage', (_error, answer) => {
      counts = answer.result;
    });
    if (!counts) throw new Violation('The profiler did not answer.');
    return counts.filter(({ url }) => this.#files.some((file) => url.includes(file)));
  }

  /**
   * Did something run since the last call that was never noted, or never as often? `note`: it is noted by this. To ask is
   * a third of a millisecond, so that inputs are run in groups, and those of a group one by one only when it has news.
   */
  take(note: boolean): boolean {
    let news = false;
    for (const { url, functions } of this.#counts()) {
      const end = Math.max(...functions.map(({ ranges }) => ranges[0]?.endOffset ?? 0));
      let script = this.#scripts.get(url);
      if (!script || script.seen.length < end) {
        script = { seen: new Uint8Array(end), code: new Uint8Array(end) };
        this.#scripts.set(url, script);
      }
      for (const { functionName, ranges } of functions) {
        const whole = ranges[0];
        // The module itself runs once, at its import.
        if (!whole || (functionName === '' && whole.startOffset === 0)) continue;
        script.code.fill(1, whole.startOffset, whole.endOffset);
      }
      for (const { functionName, ranges } of functions) {
        if (functionName === '' && ranges[0]?.startOffset === 0) continue;
        if (this.#compare(script, ranges, note)) news = true;
      }
    }
    return news;
  }

  /** One function's blocks, outer ones before inner ones. */
  #compare(script: Script, ranges: readonly Profiler.CoverageRange[], note: boolean): boolean {
    const [whole] = ranges;
    if (!whole || whole.count === 0) return false;
    const { startOffset: base, endOffset } = whole;
    const bits = new Uint8Array(endOffset - base);
    for (const { startOffset, endOffset: stop, count } of ranges) {
      bits.fill(count === 0 ? 0 : bucket(count), startOffset - base, stop - base);
    }
    let news = false;
    const { seen } = script;
    for (let i = 0; i < bits.length; i++) {
      const bit = bits[i] ?? 0;
      const before = seen[base + i] ?? 0;
      if ((before & bit) === bit) continue;
      if (!note) return true;
      seen[base + i] = before | bit;
      news = true;
    }
    return news;
  }

  /** How much of each file was reached until now. */
  reached(): Reached[] {
    return [...this.#scripts].map(([url, { seen, code }]) => {
      let total = 0;
      let reached = 0;
      for (let i = 0; i < code.length; i++) {
        if (code[i] === 0) continue;
        total++;
        if (seen[i] !== 0) reached++;
      }
      return {
        file: url.slice(url.indexOf(this.#files.find((file) => url.includes(file)) ?? '')),
        code: total,
        reached,
      };
    });
  }

  /** Lines of function bodies of which nothing was reached, by file. */
  missed(readSource: (url: string) => string): { file: string; lines: number[] }[] {
    return [...this.#scripts].map(([url, { seen, code }]) => {
      const lines: number[] = [];
      let at = 0;
      readSource(url)
        .split('\n')
        .forEach((line, index) => {
          const from = at + (line.length - line.trimStart().length);
          const to = at + line.length;
          at += line.length + 1;
          const covered = code.subarray(from, to);
          const comment = /^\s*(\/\/|\/\*|\*)/.test(line);
          if (
            to - from > 1 &&
            !comment &&
            covered.every((one) => one === 1) &&
            seen.subarray(from, to).every((one) => one === 0)
          )
            lines.push(index + 1);
        });
      return { file: url, lines };
    });
  }
}
