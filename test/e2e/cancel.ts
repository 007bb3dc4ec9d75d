/** Cancelling a job in a given state, on real parts: what must be true afterwards. */
import assert from 'node:assert/strict';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Job, JobState } from '../../appliance/api/job.ts';
import type { JobView, Machine } from '../../appliance/api/rest.ts';
import { STATES } from '../../appliance/job/states.ts';
import { onExit } from '../lab/cleanup.ts';
import { type LabLibvirtd, startLibvirtd } from '../lab/libvirtd.ts';
import { type Lab, openLab } from '../lab/namespace.ts';
import { smallSource, startAgent } from './agent-process.ts';
import { type Appliance, makeAppliance } from './appliance.ts';
import { leftovers } from './leftovers.ts';

const REPOSITORY = resolve(import.meta.dirname, '../..');
const REACH_LIMIT_MS = 15 * 60_000;
const CANCEL_LIMIT_MS = 3 * 60_000;
const TARGET_NAME = 'cancelled-copy';

export interface CancelScene {
  lab: Lab;
  libvirtd: LabLibvirtd;
  appliance: Appliance;
  machine: Machine;
  close(): Promise<void>;
}

/** A lab with an approved agent on a small Debian disk. Emulation is stated, so that no time goes into proving KVM again. */
export async function openCancelScene(): Promise<CancelScene> {
  const lab = await openLab();
  try {
    const libvirtd = await startLibvirtd({ netns: lab.namespace });
    const stopLibvirtd = onExit('libvirtd', () => libvirtd.stop());
    const device = await smallSource(lab);
    const images = join(REPOSITORY, 'out/images');
    const appliance = await makeAppliance(lab, { libvirtUri: libvirtd.uri, images, acceleration: 'tcg' });
    await appliance.start();
    const machine = await startAgent(lab, appliance, device);
    const close = async () => {
      await appliance.stop();
      await stopLibvirtd();
      await lab.close();
    };
    return { lab, libvirtd, appliance, machine, close };
  } catch (error) {
    await lab.close();
    throw error;
  }
}

async function waitUntil(
  scene: CancelScene,
  jobId: string,
  limitMs: number,
  reached: (view: JobView) => boolean,
): Promise<JobView> {
  for (const deadline = Date.now() + limitMs; ; await sleep(200)) {
    const view = await scene.appliance.job(jobId);
    if (reached(view)) return view;
    const { job } = view;
    if (job.state === 'failed' || Date.now() > deadline) {
      const log = await scene.appliance.rehostText('log', jobId);
      throw new Error(`job ${jobId} is ${job.state}: ${job.error?.message ?? 'no error'}\n${log.stdout.slice(-3000)}`);
    }
  }
}

/** Orders a copy, cancels it as soon as it is in `state`, and sees that nothing is left and that the source can be copied again. */
export async function cancelIn(scene: CancelScene, state: JobState): Promise<Job> {
  const { appliance, machine } = scene;
  const order = await appliance.rehost<JobView>(
    'clone',
    machine.id,
    '--name',
    TARGET_NAME,
    '--memory',
    '1G',
    '--cpus',
    '2',
  );
  const { id } = order.job;
  const present = (view: JobView) => view.job.phases.some((phase) => phase.state === state);
  const before = await waitUntil(scene, id, REACH_LIMIT_MS, present);
  await appliance.rehost('cancel', id);
  const { job } = await waitUntil(scene, id, CANCEL_LIMIT_MS, (view) => view.job.state === 'cancelled');
  // Some states last a blink: the cancel may meet the one behind.
  assert.ok([state, STATES[state].next].includes(before.job.state), `the job was in '${before.job.state}' already`);
  assert.deepEqual(await leftovers(scene.libvirtd.uri, id, TARGET_NAME), [], 'something is left on the hypervisor');
  assert.equal(job.error?.code, 'JOB_CANCELLED');
  const again = await appliance.rehostText('cancel', id);
  assert.match(again.stderr, /JOB_ENDED/);
  const after = await appliance.rehost<Machine[]>('machines');
  assert.ok(after.find((found) => found.id === machine.id)?.online, 'the agent is gone');
  return job;
}
