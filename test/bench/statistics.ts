/** Medians, and ratios of rows that ran in the same rounds. */
import type { Row } from './rounds.ts';
import type { Figures } from './trial.ts';

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

/** Median over a row's runs. */
export function typical(row: Row, of: (figures: Figures) => number): number {
  return median(row.runs.map(of));
}

/**
 * Median of the rounds' own ratios of `of`, a over b: what slows the whole machine for a while slows both of a round.
 * Undefined when one of them was not measured in full.
 */
export function ratio(a: Row | undefined, b: Row | undefined, of: (figures: Figures) => number): number | undefined {
  if (!a || !b || a.notMeasured !== null || b.notMeasured !== null) return undefined;
  return median(a.runs.flatMap((figures, round) => (b.runs[round] ? [of(figures) / of(b.runs[round])] : [])));
}
