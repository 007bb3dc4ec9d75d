import { fromWire, RehostError } from '../../api/errors.ts';
import type { JobContext } from '../context.ts';
import { diskSerial } from '../names.ts';
import { Patience } from '../patience.ts';
import { pause } from '../wait.ts';

const AWAY_MAX_MS = 180_000;
/** A rebuild of several initramfs under emulation takes minutes each, ms. */
const CONVERT_MAX_MS = 3_600_000;

/**
 * The receiver makes the guest boot as a virtual machine, on the overlays. A pause is obeyed after it: a transfer VM that stood still
 * in the middle would seem dead, and a conversion takes minutes.
 */
export async function convert(context: JobContext): Promise<void> {
  const { job, deps, signal, log } = context;
  const receiver = await deps.receivers.waitFor(job.id, AWAY_MAX_MS, signal);
  await receiver.request(
    'convert.start',
    {
      jobId: job.id,
      disks: job.disks.map((disk) => ({ disk: disk.disk, serial: diskSerial('overlay', disk.disk) })),
      options: { network: job.order.address ?? 'keep', nics: job.nics, firmware: job.firmware },
    },
    60_000,
  );
  const away = new Patience(AWAY_MAX_MS, 'RECEIVER_LOST', 'The transfer VM has not answered');
  const deadline = Date.now() + CONVERT_MAX_MS;
  let reported = 0;
  for (;;) {
    const status = await away.attempt(() => deps.receivers.get(job.id)?.request('convert.status', { jobId: job.id }));
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
