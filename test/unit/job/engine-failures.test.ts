/** The hypervisor fails at every call of a job: once, and until somebody mends it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RehostError } from '../../../appliance/api/errors.ts';
import { unreachable } from './facts.ts';
import { inWorld, pointsOf, SCENARIOS } from './scenarios.ts';

const CONCURRENCY = 8;

for (const scenario of SCENARIOS) {
  void test(`engine: the hypervisor fails in ${scenario.name}`, { concurrency: CONCURRENCY }, async (t) => {
    const calls = (await pointsOf(scenario)).filter(({ kind }) => kind.startsWith('driver.'));
    const once = calls.map(({ name }) =>
      t.test(`once, at ${name}`, () =>
        inWorld(scenario, async (world) => {
          world.fails = (point) => (point.name === name ? unreachable() : undefined);
          const ordered = await world.order().catch((error: unknown) => error);
          if (ordered instanceof RehostError) {
            assert.equal(ordered.code, 'HYPERVISOR_UNREACHABLE');
            assert.deepEqual(world.engine.list(), []);
            return;
          }
          const [known] = world.engine.list();
          assert.ok(known, String(ordered));
          const job = await world.end(known.id);
          assert.ok(job.state === 'failed' || job.state === 'done', job.state);
          assert.equal(job.cleanUpFailed, false);
          await world.check(job);
        }),
      ),
    );
    const forEver = calls.flatMap(({ name }) =>
      (['retry', 'cancel'] as const).map((then) =>
        t.test(`from ${name} on, then ${then}`, () =>
          inWorld(scenario, async (world) => {
            let away = false;
            world.fails = ({ name: now, kind }) => {
              away ||= now === name;
              if (away && kind.startsWith('driver.')) unreachable();
            };
            const ordered = await world.order().catch((error: unknown) => error);
            if (ordered instanceof RehostError) return;
            const [known] = world.engine.list();
            assert.ok(known, String(ordered));
            const failed = await world.end(known.id);
            // The screenshot is a help only: it fails nobody, but whoever calls next does.
            assert.equal(failed.state, 'failed');
            assert.equal(failed.cleanUpFailed, true);
            assert.match(failed.error?.message ?? '', /The clean-up failed: The hypervisor does not answer/);
            world.fails = () => {};
            await world.engine[then](failed.id);
            const job = await world.end(failed.id);
            assert.equal(job.state, then === 'cancel' ? 'cancelled' : 'failed');
            assert.equal(job.cleanUpFailed, false);
            await world.check(job);
          }),
        ),
      ),
    );
    await Promise.all([...once, ...forEver]);
  });
}
