import { fromWire, RehostError } from '../../api/errors.ts';
import type { JobContext } from '../context.ts';
import { goBackAfterLoss } from '../copy/fruitless.ts';
import { ReceiverWatch } from '../copy/receiver.ts';
import { diskSerial } from '../names.ts';
import { pause } from '../wait.ts';

const START_DEADLINE_MS = 60_000;
/** A rebuild of several initramfs under emulation takes minutes each, ms. */
const CONVERT_MAX_MS = 3_600_000;

/**
 * The receiver makes the guest boot as a virtual machine, on the overlays. A pause is obeyed after it: a transfer VM that stood still
 * in the middle would seem dead, and a conversion takes minutes. Where the receiver is lost the job goes back and begins with new overlays.
 */
export async function convert(context: JobContext): Promise<void> {
  await goBackAfterLoss(context, () => convertGuest(context));
}

async function convertGuest(context: JobContext): Promise<void> {
  const { job, signal, log } = context;
  const receiver = new ReceiverWatch(context);
  const order = {
    jobId: job.id,
    disks: job.disks.map((disk) => ({ disk: disk.disk, serial: diskSerial('overlay', disk.disk) })),
    options: { network: job.order.address ?? ('keep' as const), nics: job.nics, firmware: job.firmware },
  };
  while (!(await receiver.ask((peer) => peer.request('convert.start', order, START_DEADLINE_MS)))) {
    await pause(context.pauses.pollMs, signal);
  }
  const deadline = Date.now() + CONVERT_MAX_MS;
  let reported = 0;
  for (;;) {
    const status = await receiver.ask((peer) => peer.request('convert.status', { jobId: job.id }));
    if (status) {
      for (const step of status.steps.slice(reported))
        log.line(`convert ${step.step}: ${step.outcome}, ${step.detail} (${step.seconds.toFixed(1)} s)`);
      reported = status.steps.length;
      job.steps = status.steps;
      context.progress({ note: status.steps.at(-1)?.step ?? 'looking at the guest' });
      if (status.progress === 'failed')
        throw status.error ? fromWire(status.error) : new RehostError('CONVERSION_FAILED', 'The conversion failed.');
      if (status.progress === 'idle')
        throw new RehostError('RECEIVER_LOST', 'The receiver was started anew and has lost the conversion.');
      if (status.progress === 'done') {
        job.guest = status.guest;
        context.detail(
          `${status.guest}: ${status.steps.filter((step) => step.outcome === 'changed').length} step(s) changed something`,
        );
        return;
      }
    }
    if (Date.now() > deadline)
      throw new RehostError(
        'CONVERSION_FAILED',
        `The conversion did not end within ${CONVERT_MAX_MS / 60_000} minutes.`,
      );
    await pause(context.pauses.pollMs, signal);
  }
}
