import { after, before, test } from 'node:test';
import { type CancelScene, cancelIn, openCancelScene } from './cancel.ts';

let scene: CancelScene;
before(async () => {
  scene = await openCancelScene();
});
after(() => scene?.close());

// The others, some of which last a blink, are in cancel-every-state.slow.test.ts.
for (const state of ['start-transfer', 'copy', 'convert', 'prove'] as const) {
  test(`cancel: a job in '${state}' ends, and nothing of it is left`, { timeout: 30 * 60_000 }, async () => {
    await cancelIn(scene, state);
  });
}
