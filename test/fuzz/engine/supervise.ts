/** Runs a target's process, and ends it when an input hangs. */
import { type ChildProcess, fork } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readCurrent } from './current.ts';
import { currentFile, keep, OUT } from './files.ts';
import type { Failure, Result } from './fuzzer.ts';
import { removeScratch } from './scratch.ts';

const CHILD = join(import.meta.dirname, '..', 'child', 'main.ts');
const LOOK_MS = 1000;
/** One input takes about a millisecond. Processor time, so that a busy machine does not look like a hang, s. */
const HANG_CPU_SECONDS = 10;
/** And one that waits for something that never comes, ms. */
const HANG_MS = 300_000;
const HEAP_MIB = 1024;
/** Clock ticks per second in /proc, on every Linux that Node runs on. */
const TICKS = 100;

/** utime and stime of /proc/PID/stat, s; undefined when the process is gone. */
function cpuSeconds(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS;
  } catch {
    return undefined;
  }
}

/** Calls `hung` once when the process stays with one input for too long. Returns how to stop looking. */
function watch(child: ChildProcess, target: string, hung: () => void): () => void {
  let last = { run: -1, cpu: 0, at: performance.now() };
  const timer = setInterval(() => {
    const cpu = child.pid === undefined ? undefined : cpuSeconds(child.pid);
    if (cpu === undefined) return;
    const run = readCurrent(currentFile(target))?.run ?? -1;
    if (run !== last.run) last = { run, cpu, at: performance.now() };
    else if (cpu - last.cpu > HANG_CPU_SECONDS || performance.now() - last.at > HANG_MS) hung();
  }, LOOK_MS);
  return () => clearInterval(timer);
}

/** The input that a process did not survive. */
function lost(target: string, message: string): Failure {
  const current = readCurrent(currentFile(target));
  const path = current ? keep(OUT, `crash-${target}-`, current.input) : '(before the first input)';
  return { path, message };
}

/** Runs `order` (see child/main.ts) for a target. Never throws: what went wrong stands in the result. */
export function supervise(target: string, order: readonly string[]): Promise<Result> {
  rmSync(currentFile(target), { force: true });
  const child = fork(CHILD, [order[0] ?? '', target, ...order.slice(1)], {
    execArgv: [`--max-old-space-size=${HEAP_MIB}`],
  });
  let result: Result | undefined;
  let hung = false;
  child.on('message', (message) => {
    result = message as Result;
  });
  const stop = watch(child, target, () => {
    hung = true;
    child.kill('SIGKILL');
  });
  return new Promise((resolve) => {
    child.on('exit', (code, signal) => {
      stop();
      if (child.pid !== undefined) removeScratch(child.pid);
      const reason = hung
        ? 'An input hangs.'
        : `The process ended with ${signal ?? `code ${code}`} and without a result.`;
      const empty = { target, runs: 0, seconds: 0, corpus: 0, reached: [], missed: [] };
      resolve(result ?? { ...empty, failure: lost(target, reason) });
    });
  });
}
