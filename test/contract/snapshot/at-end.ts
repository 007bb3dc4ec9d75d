/** Tidying up after a test. */
import type { TestContext } from 'node:test';

type Step = () => void | Promise<void>;

const steps = new WeakMap<TestContext, Step[]>();

/**
 * Runs at the test's end, the last one first (node:test itself keeps the order in which they were named), and each of them even
 * if another fails: a process that is not ended would keep the whole run waiting.
 */
export function atEnd(t: TestContext, step: Step): void {
  const known = steps.get(t);
  if (known) {
    known.push(step);
    return;
  }
  const mine = [step];
  steps.set(t, mine);
  t.after(async () => {
    const failures: unknown[] = [];
    for (let next = mine.pop(); next; next = mine.pop()) {
      try {
        await next();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, failures.map(String).join('; '));
  });
}
