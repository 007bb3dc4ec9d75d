/**
 * Rehost beside the fastest standard tools, in one run on the same cores: `make bench`. Each run is made of processes of its
 * own; contenders alternate; figures are medians, ratios the median of the rounds' own ratios. Prints tables and writes
 * out/bench/WORKLOAD.json. Ends with 1 when something was not measured, else with 2 when a target was not reached.
 * Environment: REHOST_BENCH_MIB (size of the sources, 4096), REHOST_BENCH_ROUNDS (5), REHOST_BENCH_ONLY (workloads, with
 * commas), REHOST_BENCH_TREE (what the file system over the link is made of, /usr).
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { interruptedBy, runCleanups } from '../lab/cleanup.ts';
import { load } from './proc.ts';
import { printWorkload, verdict } from './table.ts';
import { MIB, type Settings, Workbench } from './workbench.ts';
import type { Measured, Workload } from './workload.ts';
import { link } from './workloads/link.ts';
import { fileLoop, ramLoopPlain, ramLoopTls } from './workloads/loop.ts';
import { memory } from './workloads/memory.ts';
import { ramNullPlain, ramNullTls } from './workloads/ram-null.ts';
import { sparse } from './workloads/sparse.ts';

const WORKLOADS = [ramNullPlain, ramNullTls, ramLoopPlain, ramLoopTls, fileLoop, sparse, link, memory];
const MIB_MIN = 64;

function number(name: string, otherwise: number, least: number): number {
  const text = process.env[name];
  if (text === undefined || text === '') return otherwise;
  const value = Number(text);
  if (!Number.isInteger(value) || value < least)
    throw new Error(`${name} is '${text}'; it wants an integer from ${least} on.`);
  return value;
}

function chosen(): Workload[] {
  const only = process.env.REHOST_BENCH_ONLY?.split(',').filter(Boolean);
  if (!only || only.length === 0) return WORKLOADS;
  return only.map((id) => {
    const workload = WORKLOADS.find((one) => one.id === id);
    if (workload) return workload;
    throw new Error(`REHOST_BENCH_ONLY names '${id}'; there are: ${WORKLOADS.map((one) => one.id).join(', ')}.`);
  });
}

/** Measures one workload; undefined when it could not be. */
async function measure(workload: Workload, settings: Settings): Promise<Measured | undefined> {
  const bench = new Workbench(settings);
  try {
    return await workload.run(bench);
  } catch (error) {
    console.log(`\n${workload.title}\n  not measured: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  } finally {
    await bench.close();
  }
}

async function main(): Promise<number> {
  if (process.getuid?.() !== 0) throw new Error('It makes loop devices and network namespaces; run it as root.');
  const settings: Settings = {
    bytes: number('REHOST_BENCH_MIB', 4096, MIB_MIN) * MIB,
    rounds: number('REHOST_BENCH_ROUNDS', 5, 1),
    tree: process.env.REHOST_BENCH_TREE ?? '/usr',
  };
  const workloads = chosen();
  const loadBefore = load();
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, kernel: release(), loadBefore };
  console.log(`${machine.cores} cores of ${machine.cpu}, Linux ${machine.kernel}, load ${loadBefore} before`);
  console.log(
    `${settings.bytes / MIB} MiB, median of ${settings.rounds} rounds after one that does not count, in alternating order`,
  );
  console.log(
    "Wall: from the order to copy to its end; connecting counts, starting servers and loading Rehost does not, starting the others' clients does",
  );
  console.log(
    "CPU: both sides' processes with their children; others: cores that everything else kept busy meanwhile, strangers too; MiB: peak resident memory",
  );
  let code = 0;
  mkdirSync('out/bench', { recursive: true });
  for (const workload of workloads) {
    const measured = await measure(workload, settings);
    if (interruptedBy()) return 1;
    if (!measured || measured.rows.some(({ notMeasured }) => notMeasured !== null)) code = 1;
    if (!measured) continue;
    printWorkload(workload, measured);
    const verdicts = measured.targets.map((target) => ({ ...target, verdict: verdict(target) ?? null }));
    if (code === 0 && verdicts.some((one) => one.verdict === 'NOT reached')) code = 2;
    const text = JSON.stringify({ workload: workload.id, machine, settings, ...measured, targets: verdicts }, null, 2);
    writeFileSync(`out/bench/${workload.id}.json`, `${text}\n`);
  }
  return code;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  await runCleanups();
}
