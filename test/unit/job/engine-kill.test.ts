/** The orchestrator loses its power at every point of a job, and another one goes on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changes, inWorld, pointsOf, SCENARIOS } from './scenarios.ts';

/** Worlds at once: each mostly waits. */
const CONCURRENCY = 8;

for (const scenario of SCENARIOS) {
  void test(`engine: killed at every point of ${scenario.name}`, { concurrency: CONCURRENCY }, async (t) => {
    const points = await pointsOf(scenario);
    const runs: Promise<void>[] = [];
    for (const point of points) {
      for (const moment of changes(point) ? (['before', 'after'] as const) : (['before'] as const)) {
        runs.push(
          t.test(`killed ${moment} ${point.name}`, () =>
            inWorld(scenario, async (world) => {
              let killed = false;
              world.at(point.name, moment, () => {
                killed = true;
                world.kill();
              });
              const job = await world.orderToEnd();
              assert.ok(killed, 'the point was never reached');
              if (!job) return;
              assert.equal(job.state, scenario.ends, job.error?.message);
              if (scenario.ends === 'failed') assert.equal(job.kept.length, job.disks.length);
              await world.check(job);
            }),
          ),
        );
      }
    }
    await Promise.all(runs);
  });
}
