/**
 * Complete clones of both kinds of source machine, on real parts. The BIOS one survives an orchestrator that is killed while it
 * copies; the UEFI one is handed over and started in the place of its source.
 */
import assert from 'node:assert/strict';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import type { Job } from '../../appliance/api/job.ts';
import { cloneOneMachine, type Scene } from './clone.ts';
import { renderTable, whatIsMissing } from './report.ts';

const REPOSITORY = resolve(import.meta.dirname, '../..');
const LIMIT_MS = 60 * 60_000;

/** Kills the orchestrator once, when a part of the data has been copied, and starts it again. */
function killOnceWhileCopying(): {
  onPoll: (scene: Scene, view: { job: Job; progress: { doneBytes: number } | null }) => Promise<void>;
  killed: () => boolean;
} {
  let killed = false;
  return {
    killed: () => killed,
    onPoll: async (scene, { job, progress }) => {
      if (killed || job.state !== 'copy' || !progress || progress.doneBytes === 0) return;
      killed = true;
      await scene.appliance.kill();
      await scene.appliance.start();
    },
  };
}

for (const kind of ['bios', 'uefi'] as const) {
  test(`clone: a ${kind} machine is copied, verified, converted and boots as a virtual machine`, {
    timeout: LIMIT_MS,
  }, async (t) => {
    const killer = killOnceWhileCopying();
    const { report, expected } = await cloneOneMachine({
      kind,
      images: join(REPOSITORY, 'out/images'),
      keepIn: join(REPOSITORY, `out/test/clone-${kind}`),
      listener: { step: (text) => t.diagnostic(text), progress: () => undefined },
      ...(kind === 'bios' ? { onPoll: killer.onPoll } : { takeOver: true }),
    });
    t.diagnostic(`\n${renderTable(report.rows)}`);
    assert.deepEqual(whatIsMissing(report, expected), []);
    if (kind === 'bios') assert.ok(killer.killed(), 'the copy was over before the orchestrator could be killed');
  });
}
