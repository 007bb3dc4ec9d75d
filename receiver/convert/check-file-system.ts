/**
 * Replays journals and checks file systems on the overlay, each with its own tools. What the guest itself would do at
 * its next boot (replay, orphans, the dirty mark of a FAT) is done; real damage is never repaired but refused.
 */
import { RehostError } from '../../appliance/api/errors.ts';
import { lastWords, type RunResult, run } from './run.ts';
import type { GuestVolume } from './step.ts';
import type { ConvertTool } from './tools.ts';

/** How volumes are mounted and unmounted while they are checked (xfs and btrfs replay their logs by being mounted). */
export interface ReplayMounts {
  /** Mounts once, writable, and unmounts. */
  replay(volume: GuestVolume): Promise<void>;
}

export interface CheckContext {
  mounts: ReplayMounts;
  signal?: AbortSignal | undefined;
}

/** A check reads all metadata: minutes for millions of files under emulation. */
const CHECK_TIMEOUT_MS = 30 * 60_000;

/** Volumes that can be checked and mounted here. */
export function isCheckable(volume: GuestVolume): boolean {
  return checkers.has(volume.fileSystem);
}

/**
 * Replays the journal of a volume and checks it. Answers what was put in order, or undefined when nothing had to be.
 * Throws FILESYSTEM_DAMAGED when the check finds more than a replay.
 */
export async function replayAndCheck(volume: GuestVolume, context: CheckContext): Promise<string | undefined> {
  return await checkers.get(volume.fileSystem)?.replay(volume, context);
}

/** Checks a volume that is not mounted, changing nothing. Throws FILESYSTEM_DAMAGED. */
export async function checkOnly(volume: GuestVolume, context: CheckContext): Promise<void> {
  await checkers.get(volume.fileSystem)?.check(volume, context);
}

interface Checker {
  replay(volume: GuestVolume, context: CheckContext): Promise<string | undefined>;
  check(volume: GuestVolume, context: CheckContext): Promise<void>;
}

/** e2fsck(8), exit codes: 1 corrected, 2 corrected and wants a reboot (a mounted root only), 4 left uncorrected. */
const ext: Checker = {
  async replay(volume, context) {
    // -p is what Debian runs at boot: journal, orphans, and what is safe to correct; it stops at anything else.
    const result = await tool('e2fsck', ['-f', '-p', volume.device], context);
    if (result.code === 0) return undefined;
    if (result.code !== 1) throw damaged(volume, result);
    await ext.check(volume, context);
    return 'journal replayed';
  },
  async check(volume, context) {
    await expectClean(volume, 'e2fsck', ['-f', '-n', volume.device], context);
  },
};

const xfs: Checker = {
  async replay(volume, context) {
    // Only the kernel replays an XFS log; xfs_repair -n refuses or ignores a dirty one (xfs_repair(8)).
    await mountOnce(volume, context);
    await xfs.check(volume, context);
    return undefined;
  },
  async check(volume, context) {
    await expectClean(volume, 'xfs_repair', ['-n', volume.device], context);
  },
};

const btrfs: Checker = {
  async replay(volume, context) {
    await mountOnce(volume, context);
    await btrfs.check(volume, context);
    return undefined;
  },
  async check(volume, context) {
    await expectClean(volume, 'btrfs', ['check', '--readonly', volume.device], context);
  },
};

/** FAT has no journal: the mark of an unclean unmount and a lagging second table are what a crash leaves. */
const vfat: Checker = {
  async replay(volume, context) {
    const first = await tool('fsck.vfat', ['-n', volume.device], context);
    if (first.code === 0) return undefined;
    await tool('fsck.vfat', ['-a', volume.device], context);
    await vfat.check(volume, context);
    return 'dirty mark cleared';
  },
  async check(volume, context) {
    await expectClean(volume, 'fsck.vfat', ['-n', volume.device], context);
  },
};

const checkers = new Map<string, Checker>([
  ['ext2', ext],
  ['ext3', ext],
  ['ext4', ext],
  ['xfs', xfs],
  ['btrfs', btrfs],
  ['vfat', vfat],
]);

async function tool(name: ConvertTool, argv: readonly string[], context: CheckContext): Promise<RunResult> {
  return await run(name, argv, { timeoutMs: CHECK_TIMEOUT_MS, signal: context.signal });
}

async function expectClean(
  volume: GuestVolume,
  name: ConvertTool,
  argv: readonly string[],
  context: CheckContext,
): Promise<void> {
  const result = await tool(name, argv, context);
  if (result.code !== 0) throw damaged(volume, result);
}

/** A kernel that refuses to mount is a finding about the file system, not a failure of the tool. */
async function mountOnce(volume: GuestVolume, { mounts }: CheckContext): Promise<void> {
  try {
    await mounts.replay(volume);
  } catch (cause) {
    if (cause instanceof RehostError && cause.code === 'JOB_CANCELLED') throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new RehostError('FILESYSTEM_DAMAGED', `${name(volume)} cannot be mounted: ${reason}`, { cause });
  }
}

function damaged(volume: GuestVolume, result: RunResult): RehostError {
  return new RehostError('FILESYSTEM_DAMAGED', `${name(volume)} is damaged: ${lastWords(result)}`);
}

function name(volume: GuestVolume): string {
  return `The ${volume.fileSystem} file system on ${volume.sourceDevice}`;
}
