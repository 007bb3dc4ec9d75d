/**
 * Fuzzes the NBD server, the NBD client and the allocation readers. Without arguments: all targets, FUZZ_SECONDS in all (an
 * hour), two at a time where there are two processors; FUZZ_TARGETS names some of them, FUZZ_SEED repeats a course.
 * `replay FILE` runs one input again. `merge` keeps in the repository's corpus what reaches something that the rest does not.
 * `lines` as the last argument tells which lines nothing reached.
 */
import { spawnSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type { Result } from './engine/fuzzer.ts';
import { supervise } from './engine/supervise.ts';
import { names } from './targets/files.ts';

const HOUR = 3600;
const arguments_ = process.argv.slice(2);

function tell(result: Result): void {
  const { target, runs, seconds, corpus, reached, missed, failure } = result;
  const sum = (of: 'code' | 'reached'): number => reached.reduce((all, one) => all + one[of], 0);
  const percent = ((100 * sum('reached')) / Math.max(1, sum('code'))).toFixed(1);
  const rate = Math.round(runs / Math.max(1, seconds));
  console.log(`${target}: ${runs} inputs (${rate}/s), ${corpus} kept, ${percent} % of the code reached`);
  if (arguments_.includes('lines')) {
    for (const { file, lines } of missed) if (lines.length > 0) console.log(`  ${basename(file)}: ${lines.join(' ')}`);
  }
  if (failure) console.error(`${target} FAILED: ${failure.message}\n  replay: make fuzz-replay FILE=${failure.path}`);
}

/** Runs an order for all targets, a few at a time; true when nothing broke. */
async function all(chosen: readonly string[], order: (target: string) => string[]): Promise<boolean> {
  const left = [...chosen];
  let good = true;
  const lane = async (): Promise<void> => {
    for (let target = left.shift(); target !== undefined; target = left.shift()) {
      const result = await supervise(target, order(target));
      tell(result);
      if (result.failure) good = false;
    }
  };
  await Promise.all(Array.from({ length: lanes() }, lane));
  return good;
}

function lanes(): number {
  return Math.min(2, availableParallelism());
}

/** A failing input's name begins with `crash-` and its target's; a corpus file lies in a folder of that name. */
function replay(file: string): number {
  const name = names.find((one) => basename(file).startsWith(`crash-${one}-`)) ?? basename(dirname(file));
  const child = join(import.meta.dirname, 'child', 'main.ts');
  const { status } = spawnSync(process.execPath, [child, 'replay', name, file], { stdio: 'inherit' });
  return status ?? 1;
}

async function fuzz(): Promise<number> {
  const chosen = process.env.FUZZ_TARGETS?.split(',') ?? names;
  const seconds = Number(process.env.FUZZ_SECONDS ?? HOUR);
  const seed = Number(process.env.FUZZ_SEED ?? randomInt(2 ** 31));
  const each = (seconds * Math.min(lanes(), chosen.length)) / chosen.length;
  console.log(`fuzz: ${chosen.length} targets, ${seconds} s in all, FUZZ_SEED=${seed}`);
  return (await all(chosen, () => ['fuzz', String(each), String(seed)])) ? 0 : 1;
}

const [order, file] = arguments_;
if (order === 'replay' && file !== undefined) process.exitCode = replay(file);
else if (order === 'merge')
  process.exitCode = (await all(process.env.FUZZ_TARGETS?.split(',') ?? names, () => ['merge'])) ? 0 : 1;
else process.exitCode = await fuzz();
