import { after, before, test } from 'node:test';
import { JOB_STATES } from '../../appliance/api/job.ts';
import { HANDLERS } from '../../appliance/job/handlers.ts';
import { isWorking } from '../../appliance/job/states.ts';
import { type CancelScene, cancelIn, openCancelScene } from './cancel.ts';

let scene: CancelScene;
before(async () => {
  scene = await openCancelScene();
});
after(() => scene?.close());

for (const state of JOB_STATES.filter((name) => name in HANDLERS && isWorking(name) && name !== 'clean-up')) {
  test(`cancel: a job in '${state}' ends, and nothing of it is left`, { timeout: 30 * 60_000 }, async () => {
    await cancelIn(scene, state);
  });
}
