/**
 * Which blocks of an earlier attempt the source is asked about before they are believed: a sample where it is the same snapshot, which
 * nothing can have changed, and all of them where the source was let go in between: it may have lived meanwhile.
 */
import { BLOCK_BYTES } from '../../appliance/api/transfer.ts';
import { FLUSHED, type Plan } from './plan.ts';

/** Enough to find a disk or an agent that is broken, little enough to cost a second of reading. Nothing is sent but hashes. */
const SAMPLE_BLOCKS = 16;

/** Up to SAMPLE_BLOCKS blocks, as indices of the plan, spread over those that are recorded; none that holds an unreadable range (pairs of offset and length). */
export function chooseSample(plan: Plan, bad: readonly number[]): number[] {
  const recorded = everyRecorded(plan, bad);
  if (recorded.length <= SAMPLE_BLOCKS) return recorded;
  // The first ones hold what changes at every mount; the rest by chance.
  const chosen = new Set(recorded.slice(0, 2));
  while (chosen.size < SAMPLE_BLOCKS) {
    const block = recorded[Math.floor(Math.random() * recorded.length)];
    if (block !== undefined) chosen.add(block);
  }
  return [...chosen].sort((a, b) => a - b);
}

/** All blocks that are recorded, as indices of the plan; none that holds an unreadable range. */
export function everyRecorded(plan: Plan, bad: readonly number[]): number[] {
  const unreadable = new Set<number>();
  for (let i = 0; i + 1 < bad.length; i += 2) unreadable.add(Math.floor((bad[i] ?? 0) / BLOCK_BYTES));
  const recorded: number[] = [];
  for (let block = 0; block < plan.count; block++) {
    if (plan.states[block] === FLUSHED && !unreadable.has(plan.numbers[block] ?? 0)) recorded.push(block);
  }
  return recorded;
}
