/** What a state's handler is given. */
import type { Job, JobProgress } from '../api/job.ts';
import type { HypervisorHandle, JobDependencies } from './dependencies.ts';
import type { JobLog } from './log.ts';

export interface JobContext {
  /** The record; a handler changes it and calls save(). */
  readonly job: Job;
  readonly deps: JobDependencies;
  readonly hypervisor: HypervisorHandle;
  readonly log: JobLog;
  /** Fires when the job is cancelled or the orchestrator stops. */
  readonly signal: AbortSignal;
  /** How long to wait before the other end is asked again, ms. */
  readonly pollMs: number;
  /** 256 bits: the job's transfer token. */
  readonly token: Buffer;
  /** Resolves when the record is on disk. */
  save(): Promise<void>;
  /** Shown to clients, kept in memory only. */
  progress(update: Omit<JobProgress, 'state'>): void;
  /** One sentence about the present phase, kept in its record. */
  detail(text: string): void;
}

export type Handler = (context: JobContext) => Promise<void>;
