import { RehostError } from '../../api/errors.ts';
import type { ConsoleReader } from '../../hypervisor/driver.ts';
import { type Follower, follow } from '../console-log.ts';
import type { JobContext } from '../context.ts';
import { findLoginPrompt } from '../login-prompt.ts';
import { pause } from '../wait.ts';
import { defineTarget } from './define-target.ts';

/** From power-on to the login prompt, ms: 60 to 80 s were measured for Debian 13 under emulation; first boots and slow hosts get slack. */
const PROOF_DEADLINE_MS = 900_000;
/** How long a VM that was met running may take to shut down, ms. */
const REBOOT_DEADLINE_MS = 90_000;
/** What is kept of the console for the search, characters. */
const TAIL_CHARACTERS = 4096;

/**
 * Boots the target VM on the isolated network until its serial console shows a login prompt; keeps a screenshot. A pause suspends the
 * VM, and the proof's time stands still with it.
 */
export async function prove(context: JobContext): Promise<void> {
  const { job, hypervisor, log, signal } = context;
  const { driver } = hypervisor;
  const vm = job.order.name;
  await context.pausePoint();
  // Entered again after a crash: what it showed meanwhile nobody read, so it is booted anew. A VM that is suspended, or still too early
  // in its boot to shut down, loses its power; its file systems' journals are made for that, and the replica is not touched.
  const met = await driver.vmState(vm);
  if (met === 'paused' || (met === 'running' && !(await driver.shutdownVm(vm, REBOOT_DEADLINE_MS))))
    await defineTarget(context);
  let tail = '';
  let evidence: string | undefined;
  const listen = (reader: ConsoleReader): Follower =>
    follow(
      reader,
      (bytes) => {
        log.console('target', bytes);
        tail = (tail + bytes.toString('latin1')).slice(-TAIL_CHARACTERS);
        evidence ??= findLoginPrompt(tail);
      },
      (error) => log.error("the target VM's console broke", error),
    );
  let console = listen(await driver.startVmWithConsole(vm));
  // Moved on by the time that it stood still.
  let started = Date.now();
  const limitMs = job.order.proofDeadlineMs ?? PROOF_DEADLINE_MS;
  try {
    while (evidence === undefined) {
      if (job.pauseRequested) {
        const since = Date.now();
        await driver.suspendVm(vm);
        await context.pausePoint();
        await driver.resumeVm(vm);
        started += Date.now() - since;
      }
      const state = await driver.vmState(vm);
      // The console ends with libvirt's daemon, the VM does not: it is opened again.
      if (state === 'running' && !console.following) console = listen(await driver.console(vm));
      if (state !== 'running')
        throw new RehostError('PROOF_FAILED', `VM '${vm}' is ${state} before it showed a login prompt.`);
      if (Date.now() - started > limitMs) {
        const seen = tail.trimEnd().split(/\r?\n/).at(-1)?.slice(-120) ?? '';
        throw new RehostError(
          'PROOF_FAILED',
          `No login prompt within ${Math.round((Date.now() - started) / 1000)} s; the console's last line: '${seen}'.`,
        );
      }
      context.progress({ note: `booting, ${Math.round((Date.now() - started) / 1000)} s` });
      await pause(context.pauses.pollMs, signal);
    }
  } finally {
    await console[Symbol.asyncDispose]();
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
  context.detail(`'${evidence}'`);
}
