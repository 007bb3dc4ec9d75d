/** A temporary folder that the test's end removes, after everything that was opened later has been closed. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

const closing = new WeakMap<TestContext, (() => Promise<void>)[]>();

/** Runs at the test's end, the last one first: node:test itself runs them in the order in which they were named. */
export function atEnd(t: TestContext, close: () => Promise<void>): void {
  const known = closing.get(t);
  if (known) {
    known.push(close);
    return;
  }
  const mine = [close];
  closing.set(t, mine);
  t.after(async () => {
    for (let step = mine.pop(); step; step = mine.pop()) await step();
  });
}

export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'rehost-test-'));
  atEnd(t, () => rm(folder, { recursive: true, force: true }));
  return folder;
}
