/** Contenders in turn: one round that warms up and is checked, then the counted ones, each in the other order than the one before. */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Contender, Errand } from './contender.ts';
import { busySeconds } from './proc.ts';
import { type Figures, Trial } from './trial.ts';
import { missing, type Workbench } from './workbench.ts';

/** How long strangers are looked for before each run, ms: the kernel counts in steps of 10. */
const LISTEN_MS = 300;
/** One run may take this long, ms. */
const RUN_LIMIT_MS = 15 * 60_000;

/** A contender and what it copies. */
export interface Entry {
  contender: Contender;
  errand: Omit<Errand, 'folder'>;
  /** Before each run, not timed. */
  before?: () => void;
  /** After the first run, not timed: throws when the target is not what it should be. */
  check?: () => void;
}

export interface Row {
  id: string;
  name: string;
  /** In the order of the rounds. */
  runs: Figures[];
  /** Before each run, while nothing of the bench ran: cores that strangers kept busy. */
  strangers: number[];
  /** Why there are no figures, or fewer than rounds. */
  notMeasured: string | null;
}

/** Runs all entries `rounds` times after one round that does not count. A failure ends its entry, and is said. */
export async function alternate(bench: Workbench, entries: readonly Entry[], rounds: number): Promise<Row[]> {
  const pairs = entries.map((entry) => {
    const { id, name, programs } = entry.contender;
    const absent = missing(programs) ?? null;
    const row: Row = { id, name, runs: [], strangers: [], notMeasured: absent };
    return { entry, row };
  });
  for (let round = 0; round <= rounds; round++) {
    for (const { entry, row } of round % 2 === 0 ? pairs : pairs.toReversed()) {
      if (row.notMeasured !== null) continue;
      try {
        const strange = await strangers();
        const figures = await once(bench, entry);
        if (round === 0) entry.check?.();
        else {
          row.runs.push(figures);
          row.strangers.push(strange);
        }
      } catch (error) {
        row.notMeasured = error instanceof Error ? error.message : String(error);
      }
      process.stderr.write(row.notMeasured === null ? '.' : '!');
    }
  }
  process.stderr.write('\n');
  return pairs.map(({ row }) => row);
}

/** Cores that are busy although the bench does nothing. */
async function strangers(): Promise<number> {
  const [before, since] = [busySeconds(), performance.now()];
  await sleep(LISTEN_MS);
  return (busySeconds() - before) / ((performance.now() - since) / 1000);
}

async function once(bench: Workbench, { contender, errand, before }: Entry): Promise<Figures> {
  before?.();
  const folder = bench.folder();
  const trial = new Trial();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${RUN_LIMIT_MS / 60_000} minutes`)), RUN_LIMIT_MS);
  });
  try {
    await Promise.race([contender.copy(trial, { ...errand, folder }), late]);
    return await trial.figures();
  } finally {
    clearTimeout(timer);
    await trial.clean();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Is every byte of the source in the target? `cmp` is the independent reader. */
export function sameContent(source: string, target: string, bytes: number): void {
  execFileSync('cmp', [`--bytes=${bytes}`, source, target], { stdio: ['ignore', 'ignore', 'pipe'] });
}
