import type { AGENT_METHODS, RECEIVER_METHODS, ResultOf } from '../../api/control.ts';
import { fromWire, RehostError } from '../../api/errors.ts';
import { CONNECTIONS_DEFAULT } from '../../api/transfer.ts';
import type { JobContext } from '../context.ts';
import { diskSerial } from '../names.ts';
import { Patience } from '../patience.ts';
import { pause } from '../wait.ts';

/** An agent or receiver that is away for this long ends the job; the data connections do not need the control channel meanwhile. */
const AWAY_MAX_MS = 180_000;

type CopyStatus = ResultOf<typeof RECEIVER_METHODS, 'copy.status'>;
type ExportStatus = ResultOf<typeof AGENT_METHODS, 'export.status'>;

/** Takes the snapshot; the second time (after a restart) the agent answers the same one, and the disks must be the same. */
async function takeSnapshot(context: JobContext): Promise<void> {
  const { job, deps, signal } = context;
  const agent = await deps.agents.waitFor(job.machineId, AWAY_MAX_MS, signal);
  const snapshot = await agent.request(
    'snapshot.create',
    { jobId: job.id, disks: job.disks.map((disk) => disk.disk) },
    120_000,
  );
  for (const disk of job.disks) {
    const found = snapshot.disks.find((candidate) => candidate.disk === disk.disk);
    if (!found) throw new RehostError('PROTOCOL_VIOLATION', `The agent's snapshot has no disk '${disk.disk}'.`);
    if (found.sizeBytes !== disk.sizeBytes) {
      throw new RehostError(
        'SOURCE_CHANGED',
        `Disk '${disk.disk}' has ${found.sizeBytes} bytes; the order was for ${disk.sizeBytes}.`,
      );
    }
    if (disk.identity !== null && disk.identity !== found.identity) {
      throw new RehostError('SOURCE_CHANGED', `Disk '${disk.disk}' is not the disk that the job began with.`);
    }
    disk.identity = found.identity;
  }
  await context.save();
  context.log.line(`snapshot '${snapshot.provider}' of ${snapshot.timestamp}`);
}

/** Starts both ends. Each attaches to what runs already for this job, so that a restarted orchestrator may ask again. */
async function startBothEnds(context: JobContext): Promise<void> {
  const { job, deps, signal, token } = context;
  const connections = job.order.connections ?? CONNECTIONS_DEFAULT;
  const receiver = await deps.receivers.waitFor(job.id, AWAY_MAX_MS, signal);
  const { addresses, port } = await receiver.request(
    'copy.start',
    {
      jobId: job.id,
      token: token.toString('base64'),
      connections,
      disks: job.disks.map((disk) => ({
        disk: disk.disk,
        serial: diskSerial('replica', disk.disk),
        sizeBytes: disk.sizeBytes,
      })),
    },
    60_000,
  );
  const [address] = addresses;
  if (address === undefined)
    throw new RehostError('RECEIVER_LOST', 'The transfer VM has no address that the source could reach.');
  const agent = await deps.agents.waitFor(job.machineId, AWAY_MAX_MS, signal);
  await agent.request(
    'export.start',
    { jobId: job.id, address, port, token: token.toString('base64'), connections },
    60_000,
  );
  context.log.line(`agent dials ${address} port ${port} over ${connections} connection(s)`);
}

function report(context: JobContext, status: CopyStatus, bytesPerSecond: number): void {
  const known = status.disks.every((disk) => disk.usedBytes !== null);
  context.progress({
    doneBytes: status.disks.reduce((sum, disk) => sum + disk.copiedBytes, 0),
    totalBytes: known ? status.disks.reduce((sum, disk) => sum + (disk.usedBytes ?? 0), 0) : null,
    wireBytes: status.wireBytes,
    bytesPerSecond,
    note: known ? '' : 'reading the allocation map',
  });
}

/** Copies the blocks in use: polls both ends until the receiver says that all is written and flushed. */
export async function copy(context: JobContext): Promise<void> {
  const { job, deps, signal } = context;
  if (job.replicaVerified) {
    context.detail('the verified replica of the earlier attempt is used');
    return;
  }
  await takeSnapshot(context);
  await startBothEnds(context);

  const receiverAway = new Patience(AWAY_MAX_MS, 'RECEIVER_LOST', 'The transfer VM has not answered');
  const agentAway = new Patience(AWAY_MAX_MS, 'AGENT_LOST', 'The agent has not answered');
  let before = { at: Date.now(), bytes: 0 };
  let exports: ExportStatus | undefined;
  for (;;) {
    const status = await receiverAway.attempt(() =>
      deps.receivers.get(job.id)?.request('copy.status', { jobId: job.id }),
    );
    const serving = await agentAway.attempt(() =>
      deps.agents.get(job.machineId)?.request('export.status', { jobId: job.id }),
    );
    exports = serving ?? exports;
    if (status) {
      const now = { at: Date.now(), bytes: status.disks.reduce((sum, disk) => sum + disk.copiedBytes, 0) };
      report(context, status, ((now.bytes - before.bytes) * 1000) / Math.max(1, now.at - before.at));
      before = now;
      if (status.progress === 'failed')
        throw status.error ? fromWire(status.error) : new RehostError('TRANSFER_FAILED', 'The copy failed.');
      if (status.progress === 'idle')
        throw new RehostError('RECEIVER_LOST', 'The receiver was started anew and has lost its copy.');
      if (status.progress === 'done') {
        await finish(context, status, exports);
        return;
      }
    }
    await pause(context.pollMs, signal);
  }
}

async function finish(context: JobContext, status: CopyStatus, exports: ExportStatus | undefined): Promise<void> {
  const { job } = context;
  job.usedBytes = status.disks.reduce((sum, disk) => sum + (disk.usedBytes ?? 0), 0);
  job.wireBytes = status.wireBytes;
  // Asked once more for the final figure; a copy is not thrown away for a statistic.
  const ask = () => context.deps.agents.get(job.machineId)?.request('export.status', { jobId: job.id });
  const last = await new Patience(AWAY_MAX_MS, 'AGENT_LOST', 'The agent has not answered').attempt(ask);
  job.readBytes = (last ?? exports)?.exports.reduce((sum, disk) => sum + disk.readBytes, 0) ?? null;
  const zeros = status.disks.reduce((sum, disk) => sum + disk.zeroBytes, 0);
  context.detail(
    `${job.usedBytes} bytes in use, ${zeros} of them zeros, ${status.wireBytes} bytes on the wire, ${status.reconnects} reconnect(s)`,
  );
}
