/** Both ends of a copy are started. Each attaches to what runs already for this attempt, so that a restarted orchestrator may ask again. */
import { RehostError } from '../../api/errors.ts';
import { CONNECTIONS_DEFAULT, JOURNAL_SERIAL } from '../../api/transfer.ts';
import type { JobContext } from '../context.ts';
import type { ReceiverPeer } from '../dependencies.ts';
import { diskSerial } from '../names.ts';
import { readManners, type Tuning } from './limits.ts';

const START_DEADLINE_MS = 60_000;

/** `newCopy`: what the receiver may have begun is dropped. */
export async function beginCopy(
  context: JobContext,
  receiver: ReceiverPeer,
  tuning: Tuning,
  newCopy: boolean,
): Promise<void> {
  const { address, port } = await startReceiver(context, receiver, newCopy);
  // Not part of the order, which has to be the same when it is said again; nothing comes before the agent dials.
  await tuning.tellReceiver(context.job, receiver);
  await startAgent(context, address, port);
  const { job, log } = context;
  log.line(`attempt ${job.attempts}: agent dials ${address} port ${port} over ${connectionsOf(context)} connection(s)`);
}

/**
 * An attempt's number stands in the record before its token is said to anybody, and a copy that has to be begun anew is a new
 * attempt: no token is ever used for two.
 */
async function startReceiver(
  context: JobContext,
  receiver: ReceiverPeer,
  newCopy: boolean,
): Promise<{ address: string; port: number }> {
  const { job } = context;
  const { progress } = await receiver.request('copy.status', { jobId: job.id });
  const begun = progress !== 'idle';
  const start = () => receiver.request('copy.start', copyOrder(context), START_DEADLINE_MS);
  const startNew = async () => {
    job.attempts++;
    await context.save();
    if (begun) await receiver.request('job.stop', { jobId: job.id }, START_DEADLINE_MS);
    return await start();
  };
  const attached =
    begun && !newCopy && progress !== 'failed'
      ? await start().catch((error: unknown) => {
          // The orchestrator was killed between the record of an attempt and the end of the one before.
          if (error instanceof RehostError && error.code === 'REQUEST_INVALID') return undefined;
          throw error;
        })
      : undefined;
  const { addresses, port } = attached ?? (await startNew());
  const [address] = addresses;
  if (address !== undefined) return { address, port };
  throw new RehostError('RECEIVER_LOST', 'The transfer VM has no address that the source could reach.');
}

async function startAgent(context: JobContext, address: string, port: number): Promise<void> {
  const { job, deps } = context;
  const agent = deps.agents.get(job.machineId);
  if (!agent) throw new RehostError('TRANSFER_FAILED', 'The agent left before it could be told where to dial.');
  const order = {
    jobId: job.id,
    address,
    port,
    token: context.token().toString('base64'),
    connections: connectionsOf(context),
    allocation: job.order.allocation ?? ('used' as const),
    manners: readManners(job),
  };
  const start = () => agent.request('export.start', order, START_DEADLINE_MS);
  await start().catch(async (error: unknown) => {
    // It serves an earlier attempt, whose token is spent by this.
    if (!(error instanceof RehostError && error.code === 'TOKEN_INVALID')) throw error;
    await agent.request('export.stop', { jobId: job.id }, START_DEADLINE_MS);
    return await start();
  });
}

function copyOrder(context: JobContext) {
  const { job } = context;
  return {
    jobId: job.id,
    token: context.token().toString('base64'),
    connections: connectionsOf(context),
    disks: job.disks.map(({ disk, sizeBytes, identity }) => ({
      disk,
      serial: diskSerial('replica', disk),
      sizeBytes,
      ...(identity === null ? {} : { identity }),
    })),
    journal: JOURNAL_SERIAL,
    ...(job.snapshot === null ? {} : { snapshot: job.snapshot }),
    onReadError: job.order.onReadError ?? ('fail' as const),
  };
}

function connectionsOf({ job }: JobContext): number {
  return job.order.connections ?? CONNECTIONS_DEFAULT;
}
