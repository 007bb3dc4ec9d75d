/** What a state's handler is given. */
import type { KeyObject } from 'node:crypto';
import type { Job, JobProgress } from '../api/job.ts';
import type { HypervisorHandle, JobDependencies } from './dependencies.ts';
import type { JobLog } from './log.ts';
import type { EnginePauses } from './pauses.ts';
import type { TransferConsole } from './transfer-console.ts';

export interface JobContext {
  /** The record; a handler changes it and calls save(). */
  readonly job: Job;
  readonly deps: JobDependencies;
  readonly hypervisor: HypervisorHandle;
  readonly log: JobLog;
  /** Fires when the job is cancelled or the orchestrator stops. */
  readonly signal: AbortSignal;
  readonly pauses: EnginePauses;
  readonly transferConsole: TransferConsole;
  /** Signs manifests: Ed25519, private. */
  readonly manifestKey: KeyObject;
  /** 256 bits: the transfer token of the present attempt. */
  token(): Buffer;
  /** Resolves when the record is on disk. */
  save(): Promise<void>;
  /** Shown to clients, kept in memory only; what is left out is nothing. */
  progress(update: Partial<Omit<JobProgress, 'state'>>): void;
  /** One sentence about the present phase, kept in its record. */
  detail(text: string): void;
  /** Says durably that the job stands still, and why; `since` stays while the code is the same. */
  standStill(code: string, message: string): Promise<void>;
  /** Takes that back. */
  goOn(): Promise<void>;
  /** Waits while a person wants the job to pause. Throws when the job is cancelled meanwhile. */
  pausePoint(): Promise<void>;
  /** When the handler returns, the job goes back to the state's `again`. */
  again(): void;
}

export type Handler = (context: JobContext) => Promise<void>;
