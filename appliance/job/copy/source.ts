/** The source's end of a copy: an agent that may be away for long, and the snapshot that it holds. */
import { RehostError } from '../../api/errors.ts';
import type { JobContext } from '../context.ts';
import type { AgentPeer } from '../dependencies.ts';
import { pause } from '../wait.ts';

const SNAPSHOT_DEADLINE_MS = 120_000;

/** To be called while the agent is away and nothing comes: says so. AGENT_LOST after agentAwayMs; not while a person wants a pause. */
export async function standWithoutAgent(context: JobContext): Promise<void> {
  const { job, pauses } = context;
  if (job.pauseRequested) {
    await context.standStill('PAUSED', 'Paused as asked; the source machine is away besides.');
    return;
  }
  await context.standStill(
    'AGENT_LOST',
    'The source machine is away. See that it is on and reaches the appliance; if it was restarted, boot it into the agent again and approve it under the name that it has here: the copy goes on where it was.',
  );
  const since = Date.parse(job.paused?.since ?? '');
  if (Date.now() - since > pauses.agentAwayMs) {
    throw new RehostError(
      'AGENT_LOST',
      `The source machine was away for ${Math.round(pauses.agentAwayMs / 60_000)} min.`,
    );
  }
}

/** The job's agent, now or when it is back. AGENT_LOST. */
async function agentOf(context: JobContext): Promise<AgentPeer> {
  const { job, deps, pauses, signal } = context;
  const quietUntil = Date.now() + pauses.agentQuietMs;
  for (;;) {
    const agent = deps.agents.get(job.machineId);
    if (agent) return agent;
    if (Date.now() > quietUntil) await standWithoutAgent(context);
    await pause(pauses.pollMs, signal);
  }
}

/** Takes the snapshot, or finds the one that the agent holds; either way the disks must be those that the job began with. */
export async function takeSnapshot(context: JobContext): Promise<void> {
  const { job } = context;
  const agent = await agentOf(context);
  const disks = job.disks.map(({ disk }) => disk);
  const identities: Record<string, { sizeBytes: number; identity: string }> = {};
  for (const { disk, sizeBytes, identity } of job.disks)
    if (identity !== null) identities[disk] = { sizeBytes, identity };
  const snapshot = await agent.request('snapshot.create', { jobId: job.id, disks, identities }, SNAPSHOT_DEADLINE_MS);
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
      throw new RehostError('SOURCE_CHANGED', `Disk '${disk.disk}' is not as it was when the job began.`);
    }
    disk.identity = found.identity;
    if (found.path !== undefined && found.path !== `/dev/${disk.disk}`)
      context.log.line(`disk '${disk.disk}' is ${found.path} by now`);
  }
  job.snapshot = snapshot.timestamp;
  await context.save();
  if (job.paused?.code === 'AGENT_LOST') await context.goOn();
  context.log.line(`snapshot '${snapshot.provider}' of ${snapshot.timestamp}`);
}
