import type { Job } from '../../api/job.ts';
import type { JobContext } from '../context.ts';
import { goBack } from '../copy/fruitless.ts';
import { againAfter } from '../copy/outcome.ts';
import { ReceiverWatch } from '../copy/receiver.ts';
import { type VerifyStatus, watchReread } from '../copy/reread.ts';
import { keepManifest } from '../manifest/file.ts';
import { transferVmName } from '../names.ts';
import { releaseSource } from '../release.ts';
import { pause } from '../wait.ts';

/** One part is at most a MiB. */
const JOURNAL_DEADLINE_MS = 60_000;

/**
 * The receiver re-reads the replicas past every cache and compares with the hashes that the agent took while serving; its journal
 * becomes the job's manifest. Where the receiver is gone the job goes back to the copy, which finds in the journal that all is there.
 */
export async function verify(context: JobContext): Promise<void> {
  const { job } = context;
  if (job.replicaVerified) {
    context.detail('verified in the earlier attempt');
    // A crash may have come between the record and the release.
    if (job.releasePending) await releaseSource(context);
    return;
  }
  try {
    await keep(context, await reread(context));
  } catch (error) {
    const again = againAfter(error);
    if (!again || context.signal.aborted) throw error;
    await goBack(context, again.why);
    return;
  }
  // The copy is complete and proven: the source is free from here on.
  await releaseSource(context);
}

async function reread(context: JobContext): Promise<VerifyStatus> {
  const { job, pauses, signal } = context;
  const receiver = new ReceiverWatch(context);
  for (;;) {
    const started = await receiver.ask((peer) => peer.request('verify.start', { jobId: job.id }));
    if (started) return await watchReread(context);
    await pause(pauses.pollMs, signal);
  }
}

/** The manifest first, then the record that says that it is there. */
async function keep(context: JobContext, status: VerifyStatus): Promise<void> {
  const { job, hypervisor, log, manifestKey, pauses, signal } = context;
  job.manifests = status.manifests;
  const receiver = new ReceiverWatch(context);
  const { fingerprint } = await keepManifest(job, log, manifestKey, async (offset) => {
    for (;;) {
      const part = await receiver.ask((peer) =>
        peer.request('verify.journal', { jobId: job.id, offset }, JOURNAL_DEADLINE_MS),
      );
      if (part) return Buffer.from(part.data, 'base64');
      await pause(pauses.pollMs, signal);
    }
  });
  if ((await hypervisor.driver.cacheMode(transferVmName(job.id))) === 'writeback') {
    const warning = `Pool '${job.pool}' takes no direct I/O: the re-read may have come from the hypervisor's memory instead of its disk.`;
    if (!job.warnings.includes(warning)) job.warnings.push(warning);
  }
  job.replicaVerified = true;
  job.releasePending = true;
  context.detail(
    `verified, the source may be switched off: ${status.checkedBytes} bytes re-read, ${status.manifests.map(manifestLine).join(', ')}; manifest signed with key ${fingerprint.slice(0, 16)}`,
  );
  await context.save();
}

/** One disk's manifest for a person: whether its holes were all read as zeros, or sampled. */
function manifestLine({ disk, sha256, holes }: Job['manifests'][number]): string {
  return `${disk} sha256:${sha256.slice(0, 16)}, holes ${holes === 'read' ? 'read in full' : 'sampled'}`;
}
