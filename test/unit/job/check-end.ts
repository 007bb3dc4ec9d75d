/** What may never be, and what an ended job may leave. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import type { Job } from '../../../appliance/api/job.ts';
import { ownedByJob } from '../../../appliance/hypervisor/owned.ts';
import { checkManifest } from '../../../appliance/job/manifest/file.ts';
import { manifestKey } from '../../../appliance/job/manifest/signature.ts';
import { LOCAL_CONFIG } from '../../../appliance/job/transfer-vm.ts';
import { KEYS } from './facts.ts';
import { checkForeigners } from './foreigners.ts';
import { COPIED } from './transfer-guest.ts';
import type { World } from './world.ts';

export async function checkEnd(world: World, job: Job): Promise<void> {
  assert.deepEqual(world.hypervisor.violations, []);
  const { vms, volumes } = await ownedByJob(world.hypervisor, job.id);
  const names = volumes.map(({ name }) => name).sort();
  const replicas = job.disks.map(({ replica }) => replica);
  const overlays = job.disks.map(({ overlay }) => overlay);
  const done = job.state === 'done';
  assert.deepEqual(vms, done ? [{ name: job.order.name, owner: { jobId: job.id, role: 'target' } }] : []);
  assert.deepEqual(names, (done ? [...replicas, ...overlays] : job.kept).toSorted());
  if (done) {
    const target = world.hypervisor.vms.get(job.order.name);
    assert.equal(target?.state, 'shut-off');
    assert.deepEqual(
      target?.nics.map(({ network, mac }) => ({ network, mac })),
      job.nics.map(({ mac }) => ({ network: job.network, mac })),
    );
    for (const overlay of overlays)
      assert.equal(world.hypervisor.volumes.get(overlay)?.content.toString(), 'converted');
    for (const replica of replicas) assert.equal(world.hypervisor.volumes.get(replica)?.content.toString(), COPIED);
    assert.equal(job.error, null);
    assert.equal(job.proof?.evidence, 'web login:');
  }
  if (job.state === 'cancelled') assert.deepEqual(job.kept, []);
  if (job.replicaVerified) await checkManifest(job, world.log(job.id), manifestKey(KEYS.manifest));
  for (const { state, endedAt } of job.phases) assert.ok(endedAt !== null, `phase '${state}' never ended`);
  assert.equal(job.paused, null);
  assert.equal(job.pauseRequested, false);
  assert.equal(world.expects(job.id), false, 'the receiver is still expected');
  assert.equal(existsSync(world.jobFile(job.id, LOCAL_CONFIG)), false, 'the config disk is still there');
  assert.equal(world.source.snapshots.has(job.id), job.releasePending, 'the source is still held');
  if (!job.releasePending) assert.equal(world.source.exports.has(job.id), false, 'the source still serves');
  checkForeigners(world.hypervisor);
}
