/** A person cancels a job at every point of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { RehostError } from '../../../appliance/api/errors.ts';
import { inWorld, pointsOf, SCENARIOS } from './scenarios.ts';

const CONCURRENCY = 8;
/** A cancel that waits for the call under way is given up here, and the call goes on, ms. */
const HOLD_MS = 5;

for (const scenario of SCENARIOS) {
  void test(`engine: cancelled at every point of ${scenario.name}`, { concurrency: CONCURRENCY }, async (t) => {
    const points = await pointsOf(scenario);
    // Before its record is durable there is no job that could be cancelled.
    const from = points.findIndex(({ name }) => name === 'store.save 2');
    assert.equal(from > 0, scenario.from === 'driver.probe 1');
    const last = points.at(-1);
    const runs = points.slice(Math.max(from, 0)).flatMap((point) =>
      (['before', 'after'] as const).map((moment) =>
        t.test(`cancelled ${moment} ${point.name}`, () =>
          inWorld(scenario, async (world) => {
            let answer: Promise<unknown> | undefined;
            let stateThen: string | undefined;
            world.at(point.name, moment, async () => {
              const [job] = world.engine.list();
              assert.ok(job);
              stateThen = job.state;
              answer = world.engine.cancel(job.id).catch((error: unknown) => error);
              await Promise.race([answer, sleep(HOLD_MS)]);
            });
            const ordered = await world.order();
            await world.end(ordered.id);
            assert.ok(answer, 'the point was never reached');
            const said = await answer;
            const job = await world.end(ordered.id);
            await world.engine.stop();
            await world.check(job);
            if (point === last && scenario.from === 'driver.probe 1') {
              assert.ok(said instanceof RehostError && said.code === 'JOB_ENDED', String(said));
              assert.equal(job.state, 'done');
              return;
            }
            assert.ok(!(said instanceof Error), `${stateThen}: ${String(said)}`);
            assert.equal(job.state, 'cancelled', `cancelled in ${stateThen}`);
            assert.deepEqual(job, world.engine.get(job.id), 'what is durable is what is told');
          }),
        ),
      ),
    );
    await Promise.all(runs);
  });
}
