/** What the receiver answers to the orchestrator: for its own job only. */
import type { RECEIVER_METHODS } from '../../appliance/api/control.ts';
import { RehostError } from '../../appliance/api/errors.ts';
import type { Handlers } from '../../appliance/api/peer.ts';
import type { ConvertJob } from './convert-job.ts';
import type { CopyJob } from './copy-job.ts';

export interface HandlerParts {
  /** The job that this transfer VM was made for. */
  jobId: string;
  copy: CopyJob;
  convert: ConvertJob;
  /** Addresses of this VM that the agent may dial. */
  addresses(): string[];
}

/** Handlers for one or many channels, one after the other: what runs outlives the channel that asked for it. */
export function receiverHandlers(parts: HandlerParts): Handlers<typeof RECEIVER_METHODS> {
  const { copy, convert } = parts;
  const mine = (jobId: string): void => {
    if (jobId !== parts.jobId)
      throw new RehostError('JOB_UNKNOWN', `This transfer VM works for job '${parts.jobId}', not for '${jobId}'.`);
  };
  return {
    'copy.start': async (order) => {
      mine(order.jobId);
      return { port: await copy.start(order), addresses: parts.addresses() };
    },
    'copy.status': ({ jobId }) => {
      mine(jobId);
      return copy.status();
    },
    'copy.tune': async ({ jobId, ...change }) => {
      mine(jobId);
      await copy.tune(change);
      return {};
    },
    'verify.replica': async (order) => {
      mine(order.jobId);
      await copy.startVerifyReplica(order);
      return {};
    },
    'verify.journal': async ({ jobId, offset }) => {
      mine(jobId);
      return { data: await copy.journalPart(offset) };
    },
    'verify.start': async ({ jobId }) => {
      mine(jobId);
      await copy.startVerify();
      return {};
    },
    'verify.status': ({ jobId }) => {
      mine(jobId);
      return copy.verifyStatus();
    },
    'copy.release': async ({ jobId }) => {
      mine(jobId);
      await copy.release();
      return {};
    },
    'convert.start': ({ jobId, disks, options }) => {
      mine(jobId);
      convert.start({ disks, options });
      return {};
    },
    'convert.status': ({ jobId }) => {
      mine(jobId);
      return convert.status();
    },
    'job.stop': async ({ jobId }) => {
      mine(jobId);
      await convert.stop();
      await copy.stop();
      return {};
    },
  };
}
