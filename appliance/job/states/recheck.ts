import { RehostError, toWire } from '../../api/errors.ts';
import { journalLayout } from '../../api/journal.ts';
import { JOURNAL_SERIAL } from '../../api/transfer.ts';
import type { JobContext } from '../context.ts';
import { ReceiverWatch } from '../copy/receiver.ts';
import { watchReread } from '../copy/reread.ts';
import { checkManifest } from '../manifest/file.ts';
import { diskSerial, journalVolume } from '../names.ts';
import { removeCheck } from '../recheck.ts';
import { checkDisks } from '../specs.ts';
import { restartTransferVm } from '../transfer-vm.ts';
import { pause } from '../wait.ts';

/**
 * Re-reads the replicas of an ended job in a transfer VM of its own, where they cannot be written, and compares them with the
 * manifest. Its outcome is `lastCheck`; the job stays what it was. Entered again: everything is made anew.
 */
export async function recheck(context: JobContext): Promise<void> {
  const { job } = context;
  try {
    const checked = await check(context);
    job.lastCheck = { at: new Date().toISOString(), ok: true, message: `${checked} bytes are as they were verified.` };
  } catch (error) {
    const { code, message } = toWire(error);
    // A hypervisor that is away comes back, and a cancel has no outcome.
    if (context.signal.aborted || code === 'HYPERVISOR_UNREACHABLE') throw error;
    const ok = code === 'VERIFY_MISMATCH' ? false : null;
    job.lastCheck = { at: new Date().toISOString(), ok, message: `${code}: ${message}` };
  }
  context.detail(job.lastCheck.message);
}

/** Answers how many bytes were compared. */
async function check(context: JobContext): Promise<number> {
  const { job, hypervisor, log, manifestKey, pauses, signal } = context;
  const { driver } = hypervisor;
  const manifest = await checkManifest(job, log, manifestKey);
  await removeCheck(context);
  const volume = journalVolume(job.pool, job.id);
  await driver.createVolume(volume, journalLayout(job.disks).sizeBytes);
  await driver.uploadVolume(volume, manifest);
  await restartTransferVm(context, checkDisks(job));
  const receiver = new ReceiverWatch(context);
  const disks = job.disks.map(({ disk, sizeBytes, identity }) => ({
    disk,
    serial: diskSerial('replica', disk),
    sizeBytes,
    ...(identity === null ? {} : { identity }),
  }));
  const order = { jobId: job.id, disks, journal: JOURNAL_SERIAL };
  while (!(await receiver.ask((peer) => peer.request('verify.replica', order, 60_000)))) {
    await pause(pauses.pollMs, signal);
  }
  const { checkedBytes, manifests } = await watchReread(context);
  for (const { disk, sha256 } of job.manifests) {
    if (manifests.find((one) => one.disk === disk)?.sha256 === sha256) continue;
    throw new RehostError(
      'MANIFEST_INVALID',
      `The transfer VM compared disk '${disk}' with another list than the manifest's.`,
    );
  }
  return checkedBytes;
}
