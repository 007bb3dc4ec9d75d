/** The receiver's end: is it there, and is its VM? */
import { RehostError } from '../../api/errors.ts';
import type { VmState } from '../../hypervisor/driver.ts';
import type { JobContext } from '../context.ts';
import type { ReceiverPeer } from '../dependencies.ts';
import { transferVmName } from '../names.ts';
import { copyDisks } from '../specs.ts';
import { restartTransferVm } from '../transfer-vm.ts';
import { pause } from '../wait.ts';

/** Asks a receiver that may be away for a while. */
export class ReceiverWatch {
  #awaySince: number | undefined;
  readonly #context: JobContext;

  constructor(context: JobContext) {
    this.#context = context;
  }

  /**
   * The answer, or undefined when nobody answered this time. RECEIVER_LOST at once when its VM does not run any more, and after
   * receiverAwayMs. An error that is an answer is thrown on.
   */
  async ask<T>(question: (receiver: ReceiverPeer) => Promise<T>): Promise<T | undefined> {
    const { job, deps, pauses } = this.#context;
    const receiver = deps.receivers.get(job.id);
    try {
      if (receiver) {
        const answer = await question(receiver);
        this.#awaySince = undefined;
        followConsole(this.#context);
        return answer;
      }
    } catch (error) {
      // On an open channel these are the receiver's own words.
      const away = error instanceof RehostError && (error.code === 'TIMEOUT' || !receiver?.open);
      if (!away) throw error;
    }
    const state = await transferVmState(this.#context);
    if (!lives(state)) throw new RehostError('RECEIVER_LOST', `The transfer VM does not run any more: it is ${state}.`);
    const now = Date.now();
    this.#awaySince ??= now;
    if (now - this.#awaySince > pauses.receiverAwayMs) {
      const seconds = Math.round((now - this.#awaySince) / 1000);
      throw new RehostError('RECEIVER_LOST', `The transfer VM has not answered for ${seconds} s.`);
    }
    return undefined;
  }
}

/** Again, where the orchestrator or the hypervisor's daemon was started anew. */
function followConsole({ job, hypervisor, transferConsole }: JobContext): void {
  transferConsole.ensure(hypervisor.driver, transferVmName(job.id));
}

export async function transferVmState({ job, hypervisor }: JobContext): Promise<VmState> {
  return await hypervisor.driver.vmState(transferVmName(job.id));
}

/** A VM that somebody suspended lives: it answers again when it goes on. */
export function lives(state: VmState): boolean {
  return state === 'running' || state === 'paused';
}

/**
 * The receiver's channel, also after a break of it; where the receiver is gone, or `newVm` says so, its VM is started anew with the
 * same replicas and journal. TRANSFER_VM_SILENT.
 */
export async function receiverOf(context: JobContext, newVm: boolean): Promise<ReceiverPeer> {
  const { job, deps, pauses, signal } = context;
  if (!newVm) {
    const deadline = Date.now() + pauses.receiverAwayMs;
    while (Date.now() <= deadline) {
      const receiver = deps.receivers.get(job.id);
      if (!receiver && !lives(await transferVmState(context))) break;
      followConsole(context);
      if (receiver) return receiver;
      await pause(pauses.pollMs, signal);
    }
  }
  await context.standStill(
    'RECEIVER_LOST',
    'The transfer VM is gone and is started again; the copy goes on where it was.',
  );
  context.log.line('the transfer VM is started anew');
  await restartTransferVm(context, copyDisks(job));
  await context.goOn();
  return await deps.receivers.waitFor(job.id, pauses.receiverAwayMs, signal);
}
