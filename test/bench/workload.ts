/** One kind of copy that is measured, and what must come out of it. */
import type { Row } from './rounds.ts';
import type { Workbench } from './workbench.ts';

export interface Target {
  /** What is compared with what. */
  figure: string;
  /** Undefined when something of it was not measured. */
  value: number | undefined;
  unit: 'x' | 'MiB';
  sense: 'at least' | 'at most';
  must: number | undefined;
  stretch: number | undefined;
}

export interface Measured {
  /** What exactly was measured, for the reader of the table. */
  notes: readonly string[];
  /** Bytes that count as copied: for GB/s and CPU seconds per GB. */
  bytes: number;
  rows: Row[];
  targets: Target[];
}

export interface Workload {
  id: string;
  title: string;
  run(bench: Workbench): Promise<Measured>;
}

export function atLeast(figure: string, value: number | undefined, must: number | undefined, stretch?: number): Target {
  return { figure, value, unit: 'x', sense: 'at least', must, stretch };
}

export function atMost(
  figure: string,
  value: number | undefined,
  must: number,
  stretch?: number,
  unit: 'x' | 'MiB' = 'x',
): Target {
  return { figure, value, unit, sense: 'at most', must, stretch };
}
