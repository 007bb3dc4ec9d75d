/** A verification that runs in a transfer VM, until it is done. */
import type { RECEIVER_METHODS, ResultOf } from '../../api/control.ts';
import { fromWire, RehostError } from '../../api/errors.ts';
import type { JobContext } from '../context.ts';
import { pause } from '../wait.ts';
import { Tuning } from './limits.ts';
import { Rate, secondsLeft } from './rate.ts';
import { ReceiverWatch } from './receiver.ts';

export type VerifyStatus = ResultOf<typeof RECEIVER_METHODS, 'verify.status'>;

/** RECEIVER_LOST, TRANSFER_FAILED where it could be begun again; VERIFY_MISMATCH and what else the receiver says. */
export async function watchReread(context: JobContext): Promise<VerifyStatus> {
  const { job, pauses, signal } = context;
  const receiver = new ReceiverWatch(context);
  const tuning = new Tuning();
  const rate = new Rate();
  for (;;) {
    const status = await receiver.ask(async (peer) => {
      await tuning.tellReceiver(job, peer);
      return await peer.request('verify.status', { jobId: job.id });
    });
    if (status) {
      const bytesPerSecond = rate.add(status.checkedBytes);
      context.progress({
        doneBytes: status.checkedBytes,
        totalBytes: status.totalBytes,
        wireBytes: job.wireBytes ?? 0,
        bytesPerSecond,
        secondsLeft: job.pauseRequested ? null : secondsLeft(status.totalBytes - status.checkedBytes, bytesPerSecond),
      });
      if (status.progress === 'done') return status;
      if (status.progress === 'failed')
        throw status.error ? fromWire(status.error) : new RehostError('VERIFY_MISMATCH', 'The verification failed.');
      if (status.progress === 'idle')
        throw new RehostError('TRANSFER_FAILED', 'The receiver was started anew and has lost its copy.');
    }
    if (tuning.paused) await context.standStill('PAUSED', 'Paused as asked.');
    else await context.goOn();
    await pause(pauses.pollMs, signal);
  }
}
