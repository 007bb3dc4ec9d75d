/** A copy that runs, until it is done or has to be begun again. */
import type { AGENT_METHODS, ResultOf } from '../../api/control.ts';
import { fromWire, RehostError } from '../../api/errors.ts';
import type { JobContext } from '../context.ts';
import { pause } from '../wait.ts';
import { noteFlushed } from './fruitless.ts';
import type { Tuning } from './limits.ts';
import { ReceiverWatch } from './receiver.ts';
import { CopyReport, type CopyStatus } from './report.ts';
import { standWithoutAgent } from './source.ts';

export type ExportStatus = ResultOf<typeof AGENT_METHODS, 'export.status'>;

/** What an agent says that no other connection and no further attempt would change. */
const FINAL: ReadonlySet<string> = new Set(['SOURCE_CHANGED', 'SOURCE_READ_FAILED', 'INTERNAL']);

export interface Copied {
  status: CopyStatus;
  /** What the agent last said, if it said anything. */
  exports: ExportStatus | undefined;
}

/** Polls both ends until all is written and flushed. Errors tell by their code whether it can be begun again. */
export async function watchCopy(context: JobContext, tuning: Tuning): Promise<Copied> {
  const { job, pauses, signal } = context;
  const receiver = new ReceiverWatch(context);
  const report = new CopyReport();
  let exports: ExportStatus | undefined;
  let moved = { bytes: -1, at: Date.now() };
  for (;;) {
    const status = await receiver.ask(async (peer) => {
      await tuning.tellReceiver(job, peer);
      return await peer.request('copy.status', { jobId: job.id });
    });
    const serving = await askAgent(context, tuning);
    exports = serving ?? exports;
    if (status) {
      context.progress(report.of(status));
      noteFlushed(context, sum(status.disks.map((disk) => disk.flushedBytes)));
      if (status.progress === 'done') return { status, exports };
      if (status.progress === 'failed')
        throw status.error ? fromWire(status.error) : new RehostError('TRANSFER_FAILED', 'The copy failed.');
      if (status.progress === 'idle')
        throw new RehostError('TRANSFER_FAILED', 'The receiver was started anew and has lost its copy.');
      if (status.wireBytes !== moved.bytes) moved = { bytes: status.wireBytes, at: Date.now() };
    }
    // The data connections do not need the control channel: as long as something comes, nobody is missed.
    if (!serving && Date.now() - moved.at > pauses.agentQuietMs) await standWithoutAgent(context);
    else if (status?.paused) await context.standStill(status.paused.code, status.paused.message);
    else if (status) await context.goOn();
    await pause(pauses.pollMs, signal);
  }
}

/** How far the agent is; undefined while it is away. JOB_UNKNOWN when it is another one than was told to serve. */
async function askAgent(context: JobContext, tuning: Tuning): Promise<ExportStatus | undefined> {
  const { job, deps } = context;
  const agent = deps.agents.get(job.machineId);
  if (!agent) return undefined;
  try {
    await tuning.tellAgent(job, agent);
    const status = await agent.request('export.status', { jobId: job.id });
    if (status.error && FINAL.has(status.error.code)) throw fromWire(status.error);
    return status;
  } catch (error) {
    if (error instanceof RehostError && (error.code === 'TIMEOUT' || !agent.open)) return undefined;
    throw error;
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}
