/** What was measured, for people. */
import type { Row } from './rounds.ts';
import { median, typical } from './statistics.ts';
import { MIB } from './workbench.ts';
import type { Measured, Target, Workload } from './workload.ts';

/** Above this strangers were at work, cores. */
const QUIET = 0.2;

export type Verdict = 'reached' | 'NOT reached' | 'not measured';

export function verdict({ value, sense, must }: Target): Verdict | undefined {
  if (value === undefined) return 'not measured';
  if (must === undefined) return undefined;
  return (sense === 'at least' ? value >= must : value <= must) ? 'reached' : 'NOT reached';
}

export function printWorkload({ title }: Workload, { notes, bytes, rows, targets }: Measured): void {
  console.log(`\n${title}`);
  for (const note of notes) console.log(`  ${note}`);
  const head = ['', 'GB/s', 'min', 'max', 'wall s', 'CPU s/GB', 'others', 'source MiB', 'sink MiB'];
  const lines = rows.map((row) => [
    row.name,
    ...(row.notMeasured === null ? cells(row, bytes / 1e9) : [`not measured: ${row.notMeasured}`]),
  ]);
  const width = Math.max(...rows.map(({ name }) => name.length));
  for (const [name = '', ...rest] of [head, ...lines]) {
    const columns =
      rest.length === 1
        ? rest
        : rest.map((cell, index) => cell.padStart(Math.max(6, (head[index + 1] ?? '').length + 2)));
    console.log(`  ${name.padEnd(width)}${rest.length === 1 ? '  ' : ''}${columns.join('')}`);
  }
  console.log(`  ${quietness(rows)}`);
  for (const target of targets) console.log(`  => ${targetLine(target)}`);
}

function cells(row: Row, gigabytes: number): string[] {
  const speeds = row.runs.map(({ wallSeconds }) => gigabytes / wallSeconds);
  return [
    median(speeds).toFixed(2),
    Math.min(...speeds).toFixed(2),
    Math.max(...speeds).toFixed(2),
    typical(row, ({ wallSeconds }) => wallSeconds).toFixed(2),
    (typical(row, ({ cpuSeconds }) => cpuSeconds) / gigabytes).toFixed(2),
    typical(row, ({ otherSeconds, wallSeconds }) => otherSeconds / wallSeconds).toFixed(2),
    (typical(row, ({ sourceRssBytes }) => sourceRssBytes) / MIB).toFixed(0),
    (typical(row, ({ sinkRssBytes }) => sinkRssBytes) / MIB).toFixed(0),
  ];
}

function targetLine(target: Target): string {
  const { figure, value, unit, sense, must, stretch } = target;
  const number = (of: number): string => (unit === 'x' ? `x ${of.toFixed(2)}` : `${of.toFixed(0)} MiB`);
  const wanted = must === undefined ? [] : [`must be ${sense} ${number(must)}: ${verdict(target)}`];
  const further = stretch === undefined || value === undefined ? [] : [stretchText(target, number(stretch))];
  const text = [...wanted, ...further].join('; ') || 'not measured';
  return `${figure}: ${value === undefined ? '-' : number(value)} (${text})`;
}

function stretchText({ value = Number.NaN, sense, stretch = Number.NaN }: Target, number: string): string {
  const reached = sense === 'at least' ? value >= stretch : value <= stretch;
  return `stretch ${number}: ${reached ? 'reached' : 'not reached'}`;
}

/** What strangers did before the runs, and a warning when that was enough to spoil them. */
function quietness(rows: readonly Row[]): string {
  const all = rows.flatMap(({ strangers }) => strangers);
  if (all.length === 0) return 'nothing was measured';
  const cores = median(all);
  const text = `strangers kept ${cores.toFixed(2)} cores busy before the runs (median; at most ${Math.max(...all).toFixed(2)})`;
  return cores > QUIET ? `NOT QUIET, trust no figure: ${text}` : text;
}
