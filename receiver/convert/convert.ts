/**
 * The frame of the conversion: finds the guest on the overlays, puts its file systems in order, mounts it, runs the
 * steps, unmounts it, and checks the file systems once more. Nothing but the overlays is written; on any error the
 * caller throws them away.
 */
import { mkdtemp, realpath, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ConvertOptions, StepReport } from '../../appliance/api/control.ts';
import { RehostError } from '../../appliance/api/errors.ts';
import { type CheckContext, checkOnly, isCheckable, replayAndCheck } from './check-file-system.ts';
import { findRoot, mountGuest } from './find-guest.ts';
import { STEPS } from './linux/steps.ts';
import { flushDevices, Mounts, type MountVolume, mountWithKernel } from './mounts.ts';
import { Reporter } from './reporter.ts';
import type { Guest, GuestVolume } from './step.ts';
import {
  type ConvertDisk,
  describeVolumes,
  type FindPartitions,
  findKernelPartitions,
  findVolumes,
} from './volumes.ts';

export interface ConvertRequest {
  /** The guest's disks, each on its overlay. The replicas below must not be visible as devices here. */
  disks: ConvertDisk[];
  options: ConvertOptions;
  log: (line: string) => void;
  /** Called once per step when it has ended. */
  onStep: (report: StepReport) => void;
  signal?: AbortSignal;
  /** Instead of the partitions that the kernel has found. */
  findPartitions?: FindPartitions;
  /** Instead of the kernel's mount. */
  mountVolume?: MountVolume;
}

export interface ConvertResult {
  /** What the guest calls itself. */
  guest: string;
  steps: StepReport[];
}

/** Mount points are made here: a file system of the transfer VM's memory. */
const RUN_FOLDER = '/run';

/**
 * Converts the guest. Everything is unmounted and flushed when this returns or throws, except where a CONVERSION_FAILED
 * says that something could not be unmounted. Throws GUEST_UNSUPPORTED, FILESYSTEM_DAMAGED, CONVERSION_FAILED,
 * JOB_CANCELLED, TOOL_FAILED; the failed step has been reported then.
 */
export async function convertGuest(request: ConvertRequest): Promise<ConvertResult> {
  const reporter = new Reporter(request.onStep, request.log);
  const mounts = new Mounts(request.mountVolume ?? mountWithKernel);
  const point = await mkdtemp(join(await realpath(RUN_FOLDER), 'rehost-guest-'));
  const devices = request.disks.map((disk) => disk.device);
  try {
    const context: CheckContext = { mounts: replayMounts(mounts, point), signal: request.signal };
    const volumes = await reporter.frameStep('check-before', () => checkBefore(request, context));
    let guest: Guest;
    try {
      guest = await reporter.frameStep('find-guest', () => mountFound(request, volumes, mounts, point));
      for (const step of STEPS) {
        request.signal?.throwIfAborted();
        await reporter.guestStep(step, guest);
      }
    } catch (error) {
      await unmountAfterFailure(mounts, reporter);
      throw error;
    }
    await reporter.frameStep('check-after', () => checkAfter(volumes, mounts, devices, context));
    return { guest: guest.prettyName, steps: reporter.steps };
  } catch (error) {
    if (request.signal?.aborted && !(error instanceof RehostError)) {
      throw new RehostError('JOB_CANCELLED', 'The conversion was stopped between two steps.', { cause: error });
    }
    throw error;
  } finally {
    await removePoint(point, request.log);
  }
}

function replayMounts(mounts: Mounts, point: string): CheckContext['mounts'] {
  return {
    async replay(volume) {
      await mounts.mount(volume, point, { writable: true });
      await mounts.unmountLast();
    },
  };
}

/** Replays and checks every volume that has a file system known here. */
async function checkBefore(request: ConvertRequest, context: CheckContext): Promise<Outcome<GuestVolume[]>> {
  const volumes = await findVolumes(request.disks, request.findPartitions ?? findKernelPartitions);
  request.log(`found ${describeVolumes(volumes)}`);
  const done: string[] = [];
  const checked = volumes.filter(isCheckable);
  for (const volume of checked) {
    const what = await replayAndCheck(volume, context);
    if (what !== undefined) done.push(`${volume.sourceDevice}: ${what}`);
  }
  const names = checked.map((volume) => volume.sourceDevice).join(', ') || 'none';
  return {
    value: volumes,
    changed: done.length > 0,
    detail: `File systems checked and clean: ${names}${done.length > 0 ? ` (${done.join('; ')})` : ''}.`,
  };
}

async function mountFound(
  request: ConvertRequest,
  volumes: GuestVolume[],
  mounts: Mounts,
  point: string,
): Promise<Outcome<Guest>> {
  const root = await findRoot(volumes, mounts, point);
  const espMountPoint = await mountGuest(root, volumes, mounts, point);
  const guest: Guest = {
    root: point,
    volumes,
    rootVolume: root.volume,
    families: root.os.families,
    prettyName: root.os.prettyName,
    espMountPoint,
    options: request.options,
    signal: request.signal,
    log: request.log,
  };
  return { value: guest, changed: false, detail: `Found ${root.os.prettyName} on ${root.volume.sourceDevice}.` };
}

async function checkAfter(
  volumes: readonly GuestVolume[],
  mounts: Mounts,
  devices: readonly string[],
  context: CheckContext,
): Promise<Outcome<undefined>> {
  await mounts.unmountAll();
  await flushDevices([...volumes.map((volume) => volume.device), ...devices]);
  for (const volume of volumes) await checkOnly(volume, context);
  return {
    value: undefined,
    changed: false,
    detail: 'Everything is unmounted and on disk; the file systems are clean.',
  };
}

interface Outcome<T> {
  value: T;
  changed: boolean;
  detail: string;
}

/** What made the conversion fail is the error that leaves; a mount that stays busy after it is reported beside it. */
async function unmountAfterFailure(mounts: Mounts, reporter: Reporter): Promise<void> {
  try {
    await mounts.unmountAll();
  } catch (error) {
    reporter.failed('unmount', error);
  }
}

/** Only removes an empty folder: if something is still mounted there, it stays, and the log says so. */
async function removePoint(point: string, log: (line: string) => void): Promise<void> {
  try {
    await rmdir(point);
  } catch (error) {
    log(`${point} stays: ${error instanceof Error ? error.message : String(error)}`);
  }
}
