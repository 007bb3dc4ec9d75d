import { fromWire, RehostError } from '../../api/errors.ts';
import type { Job } from '../../api/job.ts';
import type { JobContext } from '../context.ts';
import { transferVmName } from '../names.ts';
import { Patience } from '../patience.ts';
import { releaseSource } from '../release.ts';
import { pause } from '../wait.ts';

const AWAY_MAX_MS = 180_000;

/** The receiver re-reads the replicas past every cache and compares with the hashes that the agent took while serving. */
export async function verify(context: JobContext): Promise<void> {
  const { job, deps, hypervisor, signal } = context;
  if (job.replicaVerified) {
    context.detail('verified in the earlier attempt');
    // A crash may have come between the record and the release.
    if (job.releasePending) await releaseSource(context);
    return;
  }
  const away = new Patience(AWAY_MAX_MS, 'RECEIVER_LOST', 'The transfer VM has not answered');
  while (!(await away.attempt(() => deps.receivers.get(job.id)?.request('verify.start', { jobId: job.id })))) {
    await pause(context.pollMs, signal);
  }
  let before = { at: Date.now(), bytes: 0 };
  for (;;) {
    const status = await away.attempt(() => deps.receivers.get(job.id)?.request('verify.status', { jobId: job.id }));
    if (status) {
      const now = { at: Date.now(), bytes: status.checkedBytes };
      context.progress({
        doneBytes: status.checkedBytes,
        totalBytes: status.totalBytes,
        wireBytes: job.wireBytes ?? 0,
        bytesPerSecond: ((now.bytes - before.bytes) * 1000) / Math.max(1, now.at - before.at),
        note: '',
      });
      before = now;
      if (status.progress === 'failed')
        throw status.error ? fromWire(status.error) : new RehostError('VERIFY_MISMATCH', 'The verification failed.');
      if (status.progress === 'idle')
        throw new RehostError('RECEIVER_LOST', 'The receiver was started anew and has lost its copy.');
      if (status.progress === 'done') {
        job.manifests = status.manifests;
        if ((await hypervisor.driver.cacheMode(transferVmName(job.id))) === 'writeback') {
          job.warnings.push(
            `Pool '${job.pool}' takes no direct I/O: the re-read may have come from the hypervisor's memory instead of its disk.`,
          );
        }
        job.replicaVerified = true;
        job.releasePending = true;
        context.detail(`${status.checkedBytes} bytes re-read, ${status.manifests.map(manifestLine).join(', ')}`);
        await context.save();
        break;
      }
    }
    await pause(context.pollMs, signal);
  }
  // The copy is complete and proven: the source is free from here on.
  await releaseSource(context);
}

/** One disk's manifest for a person: whether its holes were all read as zeros, or sampled. */
function manifestLine(manifest: Job['manifests'][number]): string {
  const holes = manifest.holes === undefined ? '' : `, holes ${manifest.holes === 'read' ? 'read in full' : 'sampled'}`;
  return `${manifest.disk} sha256:${manifest.sha256.slice(0, 16)}${holes}`;
}
