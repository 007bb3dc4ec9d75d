import { RehostError } from '../../api/errors.ts';
import type { JobContext } from '../context.ts';
import { setBadRanges } from '../copy/bad-ranges.ts';
import { beginCopy } from '../copy/begin.ts';
import { noteAgain } from '../copy/fruitless.ts';
import { Tuning } from '../copy/limits.ts';
import { type Again, againAfter } from '../copy/outcome.ts';
import { receiverOf } from '../copy/receiver.ts';
import { takeSnapshot } from '../copy/source.ts';
import { type Copied, watchCopy } from '../copy/watch.ts';
import { pause } from '../wait.ts';

/**
 * Copies the blocks in use. An end that goes away does not end the job: the copy is begun again with what it left, and the journal
 * tells the receiver what is there already.
 */
export async function copy(context: JobContext): Promise<void> {
  const { job } = context;
  if (job.replicaVerified) {
    context.detail('the verified replica of the earlier attempt is used');
    return;
  }
  let before: Again | undefined;
  for (;;) {
    const copied = await round(context, before).catch((error: unknown) => {
      const again = error instanceof RehostError && error.code === 'POOL_FULL' ? noRoom(error) : againAfter(error);
      if (!again || context.signal.aborted) throw error;
      return again;
    });
    if ('status' in copied) {
      await finish(context, copied);
      return;
    }
    if (copied.why.code === 'POOL_FULL') {
      // Nothing was lost and nobody is to blame: a person makes room, or cancels.
      await context.standStill(copied.why.code, copied.why.message);
      await pause(context.pauses.poolFullMs, context.signal);
      before = copied;
      continue;
    }
    await noteAgain(context, copied.why);
    // A second time in a row with nothing to show: whatever is wrong inside of the VM goes with it.
    before = { ...copied, newVm: copied.newVm || job.fruitless > 1 };
    await pause(context.pauses.pollMs, context.signal);
  }
}

function noRoom(why: RehostError): Again {
  return { why, newVm: false, newCopy: false };
}

async function round(context: JobContext, before: Again | undefined): Promise<Copied> {
  await takeSnapshot(context);
  const receiver = await receiverOf(context, before?.newVm ?? false);
  const tuning = new Tuning();
  await beginCopy(context, receiver, tuning, before?.newCopy ?? false);
  return await watchCopy(context, tuning);
}

async function finish(context: JobContext, { status, exports }: Copied): Promise<void> {
  const { job } = context;
  job.usedBytes = status.disks.reduce((sum, disk) => sum + (disk.usedBytes ?? 0), 0);
  job.wireBytes = status.wireBytes;
  // Asked once more for the final figure; a copy is not thrown away for a statistic.
  const agent = context.deps.agents.get(job.machineId);
  const last = await agent?.request('export.status', { jobId: job.id }).catch((error: unknown) => {
    context.log.error('the agent did not say how much it read', error);
    return undefined;
  });
  job.readBytes = (last ?? exports)?.exports.reduce((sum, disk) => sum + disk.readBytes, 0) ?? null;
  setBadRanges(
    job,
    status.disks.flatMap(({ disk, badRanges }) => badRanges.map((range) => ({ disk, ...range }))),
  );
  const zeros = status.disks.reduce((sum, disk) => sum + disk.zeroBytes, 0);
  const resumed = status.disks.reduce((sum, disk) => sum + disk.resumedBytes, 0);
  context.detail(
    `${job.usedBytes} bytes in use, ${zeros} of them zeros, ${resumed} from earlier attempts, ${status.wireBytes} bytes on the wire in attempt ${job.attempts}, ${status.reconnects} reconnect(s), ${status.retries} read(s) tried again`,
  );
}
