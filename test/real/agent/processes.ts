/** Starts main.ts of either end as the images do: a process of its own, its flags instead of the machine's own places. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { atEnd } from '../../contract/snapshot/at-end.ts';

const REPOSITORY = join(import.meta.dirname, '../../..');

export interface Process {
  child: ChildProcess;
  /** What it wrote to stdout and stderr. */
  output: () => string;
  /** Ends it at once and waits until it is gone. */
  kill: () => Promise<void>;
}

/** Runs `main` (a path in the repository); it is killed after the test. */
export function start(t: TestContext, main: 'agent/main.ts' | 'receiver/main.ts', argv: readonly string[]): Process {
  const child = spawn(process.execPath, [join(REPOSITORY, main), ...argv], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (piece: Buffer) => {
      output += piece.toString();
    });
  }
  const kill = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
  atEnd(t, kill);
  return { child, output: () => output, kill };
}

/** Looks every 50 ms until `look` answers something, for two minutes. */
export async function eventually<T>(what: string, look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const end = performance.now() + 120_000;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > end) throw new Error(`In vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
