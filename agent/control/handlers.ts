/** What the agent answers to the orchestrator. */
import type { AGENT_METHODS } from '../../appliance/api/control.ts';
import { RehostError } from '../../appliance/api/errors.ts';
import type { Inventory } from '../../appliance/api/inventory.ts';
import type { Handlers } from '../../appliance/api/peer.ts';
import type { PowerAction } from './power.ts';
import type { SourceJobs } from './source-jobs.ts';

export interface HandlerParts {
  jobs: SourceJobs;
  inventory(): Promise<Inventory>;
  /** Begins to reboot or switch off soon after it returns, so that the answer still goes out. */
  power(action: PowerAction): void;
  /** One line for the machine's screen. */
  say(line: string): void;
}

/** Handlers for one or many channels, one after the other: what runs for a job outlives the channel that asked for it. */
export function agentHandlers(parts: HandlerParts): Handlers<typeof AGENT_METHODS> {
  const { jobs } = parts;
  const say = (line: string): void => parts.say(line);
  return {
    approved: ({ name }) => {
      say(`Approved as '${name}'; this machine waits for a job.`);
      return {};
    },
    inventory: () => parts.inventory(),
    'snapshot.create': async ({ jobId, disks, identities }) => {
      const isNew = !jobs.active.includes(jobId);
      const snapshot = await jobs.snapshot(jobId, disks, identities);
      const paths = snapshot.disks.map(({ path }) => path).join(', ');
      if (isNew) say(`Job ${jobId}: snapshot '${snapshot.provider}' of ${paths}; disks are only read.`);
      return {
        provider: snapshot.provider,
        timestamp: snapshot.timestamp,
        disks: snapshot.disks.map(({ disk, path, sizeBytes, identity }) => ({ disk, path, sizeBytes, identity })),
      };
    },
    'snapshot.release': async ({ jobId }) => {
      const held = jobs.active.includes(jobId);
      await jobs.release(jobId);
      if (held) say(`Job ${jobId}: this machine is no longer needed for it and may be switched off.`);
      return {};
    },
    'export.start': async ({ token, jobId, address, port, ...order }) => {
      const isNew = await jobs.startExport({ ...order, jobId, address, port, token: Buffer.from(token, 'base64') });
      if (isNew) say(`Job ${jobId}: copying to ${address} port ${port}.`);
      return {};
    },
    'export.tune': async ({ jobId, manners }) => {
      await jobs.tuneExport(jobId, manners);
      return {};
    },
    'export.status': ({ jobId }) => jobs.status(jobId),
    'export.stop': async ({ jobId }) => {
      await jobs.stopExport(jobId);
      return {};
    },
    power: ({ action }) => {
      const [jobId] = jobs.active;
      if (jobId !== undefined)
        throw new RehostError('MACHINE_BUSY', `The machine is the source of job '${jobId}', which is not finished.`);
      say(action === 'off' ? 'Switching off.' : 'Rebooting.');
      parts.power(action);
      return {};
    },
  };
}
