/** Follows a job until it has ended. */
import { setTimeout as sleep } from 'node:timers/promises';
import { RehostError } from '../api/errors.ts';
import { JobView } from '../api/rest.ts';
import { type Client, segment } from './client.ts';
import { EXIT } from './exit-codes.ts';
import { hasEnded, progressLine } from './job-view.ts';
import type { Output } from './output.ts';

const POLL_MS = 500;
/** Without a terminal a line is printed when the state changes or the job stands still, and this often in between. */
const LINE_MS = 10_000;
/** A restart of rehostd takes seconds; the job goes on meanwhile. */
const AWAY_MAX_MS = 120_000;

/** Shows a job's progress; answers 0 only when it ends in `done`. ORCHESTRATOR_UNREACHABLE where rehostd stays away. */
export async function follow(client: Client, output: Output, id: string): Promise<number> {
  return end(output, await followUntilEnd(client, output, id));
}

/** Shows a job's progress until it has ended; answers how it is then. ORCHESTRATOR_UNREACHABLE where rehostd stays away. */
export async function followUntilEnd(client: Client, output: Output, id: string): Promise<JobView> {
  let shown = '';
  let shownAt = 0;
  let seenAt = performance.now();
  let away = false;
  for (;;) {
    const view = await look(client, id, performance.now() - seenAt);
    if (!view && !away) output.note('rehostd does not answer; waiting for it (the job goes on when it is back).');
    away = !view;
    if (view) {
      seenAt = performance.now();
      if (hasEnded(view)) {
        if (output.live) output.endRedraw();
        return view;
      }
      const looks = `${view.job.state} ${view.job.paused?.code}`;
      const due = looks !== shown || performance.now() - shownAt >= LINE_MS;
      if (output.live) output.redraw(progressLine(view));
      else if (due) print(output, view);
      if (due) shownAt = performance.now();
      shown = looks;
    }
    await sleep(POLL_MS);
  }
}

/** Undefined while rehostd is away for a while. */
async function look(client: Client, id: string, awayMs: number): Promise<JobView | undefined> {
  try {
    return await client.get(`/jobs/${segment(id)}`, JobView);
  } catch (error) {
    const away = error instanceof RehostError && error.code === 'ORCHESTRATOR_UNREACHABLE';
    if (!away || awayMs > AWAY_MAX_MS) throw error;
    return undefined;
  }
}

function print(output: Output, view: JobView): void {
  if (output.json) output.value(view);
  else output.line(progressLine(view));
}

function end(output: Output, view: JobView): number {
  const { job } = view;
  if (output.json) output.value(view);
  else {
    output.line(`Job ${job.id} ended: ${job.state}.`);
    // Some came up on the way: a target VM that did not shut down was not handed over.
    for (const warning of job.warnings) output.line(`warning: ${warning}`);
    if (job.proof) output.line(`proof: ${job.proof.evidence}`);
  }
  if (job.state === 'done') return EXIT.ok;
  if (job.error && !output.json) {
    output.note(`rehost: ${job.error.code}: ${job.error.message}`);
    output.note(`  safe: ${job.error.safe}`);
    output.note(`  next: ${job.error.next}`);
  }
  return EXIT.failed;
}
