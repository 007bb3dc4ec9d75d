import { RehostError } from '../../api/errors.ts';
import { follow } from '../console-log.ts';
import type { JobContext } from '../context.ts';
import { findLoginPrompt } from '../login-prompt.ts';
import { pause } from '../wait.ts';

const POLL_MS = 500;
/** From power-on to the login prompt, ms: 60 to 80 s were measured for Debian 13 under emulation; first boots and slow hosts get slack. */
const PROOF_DEADLINE_MS = 900_000;
/** An orderly shutdown under emulation takes up to a minute, ms. */
const SHUTDOWN_DEADLINE_MS = 240_000;
/** What is kept of the console for the search, characters. */
const TAIL_CHARACTERS = 4096;

/** Boots the target VM on the isolated network until its serial console shows a login prompt; keeps a screenshot; then shuts it down. */
export async function prove(context: JobContext): Promise<void> {
  const { job, hypervisor, log, signal } = context;
  const { driver } = hypervisor;
  const vm = job.order.name;
  // Entered again after a crash: a half-booted VM proves nothing, it is started anew.
  if ((await driver.vmState(vm)) === 'running') {
    const off = await driver.shutdownVm(vm, SHUTDOWN_DEADLINE_MS);
    if (!off) throw new RehostError('PROOF_FAILED', `VM '${vm}' was running already and does not shut down.`);
  }
  await driver.startVm(vm);
  const started = Date.now();
  const deadline = started + (job.order.proofDeadlineMs ?? PROOF_DEADLINE_MS);
  let tail = '';
  let evidence: string | undefined;
  await using console = await follow(driver, vm, (bytes) => {
    log.console('target', bytes);
    tail = (tail + bytes.toString('latin1')).slice(-TAIL_CHARACTERS);
    evidence ??= findLoginPrompt(tail);
  });
  try {
    while (evidence === undefined) {
      const state = await driver.vmState(vm);
      if (state !== 'running')
        throw new RehostError('PROOF_FAILED', `VM '${vm}' is ${state} before it showed a login prompt.`);
      if (Date.now() > deadline) {
        const seen = tail.trimEnd().split(/\r?\n/).at(-1)?.slice(-120) ?? '';
        throw new RehostError(
          'PROOF_FAILED',
          `No login prompt within ${Math.round((Date.now() - started) / 1000)} s; the console's last line: '${seen}'.`,
        );
      }
      context.progress({
        doneBytes: 0,
        totalBytes: null,
        wireBytes: 0,
        bytesPerSecond: 0,
        note: `booting, ${Math.round((Date.now() - started) / 1000)} s`,
      });
      await pause(POLL_MS, signal);
    }
  } finally {
    const screen = await driver.screenshot(vm).catch((error: unknown) => {
      log.line(`no screenshot: ${error instanceof Error ? error.message : String(error)}`);
      return undefined;
    });
    if (screen) await log.keep('screenshot.png', screen);
    job.proof =
      evidence === undefined
        ? null
        : {
            kind: 'login-prompt',
            evidence,
            seconds: (Date.now() - started) / 1000,
            screenshot: screen ? 'screenshot.png' : null,
          };
    await context.save();
  }
  if (job.order.keepRunning) {
    context.detail(`'${evidence}'; left running on isolated network '${job.isolatedNetwork}'`);
    return;
  }
  const off = await driver.shutdownVm(vm, SHUTDOWN_DEADLINE_MS);
  await console[Symbol.asyncDispose]();
  if (!off) {
    context.detail(`'${evidence}'; it did not shut down and stays on isolated network '${job.isolatedNetwork}'`);
    return;
  }
  await driver.moveNics(vm, job.network);
  context.detail(`'${evidence}'; shut down, ready to start on network '${job.network}'`);
}
