/** What a person may change while a copy runs, as both ends are told it. */
import type { Job } from '../../api/job.ts';
import type { AgentPeer, ReceiverPeer } from '../dependencies.ts';

/** For the receiver: its limit on the wire, and whether it stands still. */
function copyLimits(job: Job): { bytesPerSecond: number | null; paused: boolean } {
  return { bytesPerSecond: job.order.bytesPerSecond ?? null, paused: job.pauseRequested };
}

/** For the agent: how it reads. */
export function readManners({ order }: Job): { readPriority: 'normal' | 'low' | 'idle'; backOff: boolean } {
  return { readPriority: order.readPriority ?? 'normal', backOff: order.backOff ?? false };
}

/** Tells each end what has changed since it was last told. New for each round: nobody knows what an end still has from an earlier one. */
export class Tuning {
  #receiver: string | undefined;
  #agent: string | undefined;
  #paused = false;

  /** Was the receiver told to stand still? */
  get paused(): boolean {
    return this.#paused;
  }

  async tellReceiver(job: Job, receiver: ReceiverPeer): Promise<void> {
    const limits = copyLimits(job);
    const said = JSON.stringify(limits);
    if (said === this.#receiver) return;
    await receiver.request('copy.tune', { jobId: job.id, ...limits });
    this.#receiver = said;
    this.#paused = limits.paused;
  }

  async tellAgent(job: Job, agent: AgentPeer): Promise<void> {
    const manners = readManners(job);
    const said = JSON.stringify(manners);
    if (said === this.#agent) return;
    await agent.request('export.tune', { jobId: job.id, manners });
    this.#agent = said;
  }
}
