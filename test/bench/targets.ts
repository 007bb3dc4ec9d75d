/** The figures that targets compare. */
import type { Row } from './rounds.ts';
import { ratio } from './statistics.ts';

export function row(rows: readonly Row[], id: string): Row | undefined {
  return rows.find((one) => one.id === id);
}

/** How many times as fast a is as b, for the same bytes. */
export function faster(a: Row | undefined, b: Row | undefined): number | undefined {
  return ratio(b, a, ({ wallSeconds }) => wallSeconds);
}

/** CPU time of a as a part of b's, for the same bytes. */
export function leaner(a: Row | undefined, b: Row | undefined): number | undefined {
  return ratio(a, b, ({ cpuSeconds }) => cpuSeconds);
}
