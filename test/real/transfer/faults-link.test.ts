/** A link that is cut between the two ends, for a moment, until the connections are given up, and for good. */
import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { right, scene, survivesCut } from './cuts.ts';
import { Lab } from './transfer-lab.ts';

const lab = new Lab();
after(() => lab.clean());

it('a link that is cut for a few seconds disturbs nothing', async () => {
  const s = await scene(lab);
  await s.reached(0.3);
  s.link.cut('both ways');
  await sleep(3_000);
  s.link.mend();
  await right(s);
  assert.equal((await s.sink.status()).reconnects, 0);
});

it('a link that is cut both ways until the connections are given up: new ones go on where it was', async () => {
  await survivesCut(lab, 'both ways');
});

it('a link that is cut for good: the copy fails within its bound, and says since when', async () => {
  const s = await scene(lab, { copying: 5_000 });
  await s.reached(0.3);
  s.link.cut('both ways');
  const { progress, error } = await s.sink.finished();
  assert.deepEqual([progress, error?.code], ['failed', 'TRANSFER_FAILED']);
  assert.match(error?.message ?? '', /Nothing was copied for 5 s/);
});
