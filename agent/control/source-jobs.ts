/** What this agent holds for jobs: a snapshot each, and the export that serves it. Every call may be repeated. */
import { createHash } from 'node:crypto';
import type { AGENT_METHODS, ResultOf } from '../../appliance/api/control.ts';
import { RehostError } from '../../appliance/api/errors.ts';
import { TOKEN_BYTES } from '../../appliance/api/transfer.ts';
import type { ExportOptions, ExportSession } from '../export/serve.ts';
import type { Snapshot, SnapshotProvider } from '../snapshot/provider.ts';

export type ExportStatus = ResultOf<typeof AGENT_METHODS, 'export.status'>;
/** The disks come from the snapshot. */
export type ExportOrder = Omit<ExportOptions, 'disks'>;

/** Loaded when they are first needed: neither is before a job comes. */
export interface SourceParts {
  provider(): Promise<SnapshotProvider>;
  startExport(options: ExportOptions): Promise<ExportSession>;
}

interface Exporting {
  /** Fingerprint of its token. */
  token: string;
  session: Promise<ExportSession>;
}

interface SourceJob {
  /** Sorted names, to compare. */
  disks: string;
  /** Pending while it is taken: who asks again meanwhile waits for the same one. */
  snapshot: Promise<Snapshot>;
  exporting: Exporting | undefined;
  /** What the last export said when it was stopped. */
  last: ExportStatus | undefined;
}

const NOTHING_SERVED: ExportStatus = { running: false, connections: 0, wireBytes: 0, exports: [], error: null };

export class SourceJobs {
  readonly #jobs = new Map<string, SourceJob>();
  /** Jobs whose snapshot was released: a second release is no error. */
  readonly #released = new Set<string>();
  /** Fingerprints of the tokens of exports that were stopped: one per job of this boot. */
  readonly #spent = new Set<string>();
  readonly #parts: SourceParts;

  constructor(parts: SourceParts) {
    this.#parts = parts;
  }

  /** The job's snapshot, taken at the first call. SNAPSHOT_REFUSED; REQUEST_INVALID when the job has one of other disks. */
  async snapshot(jobId: string, disks: readonly string[]): Promise<Snapshot> {
    const names = [...new Set(disks)].sort();
    const present = this.#jobs.get(jobId);
    if (present) {
      if (present.disks === names.join(' ')) return await present.snapshot;
      throw new RehostError('REQUEST_INVALID', `Job '${jobId}' has a snapshot of other disks (${present.disks}).`);
    }
    const snapshot = this.#parts.provider().then((provider) => provider.create(names));
    this.#jobs.set(jobId, { disks: names.join(' '), snapshot, exporting: undefined, last: undefined });
    try {
      return await snapshot;
    } catch (error) {
      this.#jobs.delete(jobId);
      throw error;
    }
  }

  /** Serves the job's snapshot, or attaches to the export that does so with this token already. TOKEN_SPENT, TOKEN_INVALID, JOB_UNKNOWN. */
  async startExport(order: ExportOrder): Promise<void> {
    if (order.token.length !== TOKEN_BYTES)
      throw new RehostError('TOKEN_INVALID', `The token has ${order.token.length} bytes instead of ${TOKEN_BYTES}.`);
    const token = createHash('sha256').update(order.token).digest('hex');
    const job = this.#find(order.jobId);
    if (this.#spent.has(token))
      throw new RehostError('TOKEN_SPENT', `The token for job '${order.jobId}' was used before.`);
    if (job.exporting) {
      if (job.exporting.token !== token)
        throw new RehostError('TOKEN_INVALID', `Job '${order.jobId}' is exported with another token already.`);
      await job.exporting.session;
      return;
    }
    const exporting: Exporting = { token, session: this.#serve(job, order) };
    job.exporting = exporting;
    try {
      await exporting.session;
    } catch (error) {
      if (job.exporting === exporting) job.exporting = undefined;
      throw error;
    }
  }

  /** How far the job's export is, or was when it was stopped. JOB_UNKNOWN. */
  async status(jobId: string): Promise<ExportStatus> {
    const job = this.#find(jobId);
    if (!job.exporting) return job.last ?? NOTHING_SERVED;
    return statusOf(await job.exporting.session);
  }

  /** Ends the job's export; its token is spent. Nothing to do when there is none. JOB_UNKNOWN. */
  async stopExport(jobId: string): Promise<void> {
    if (this.#released.has(jobId)) return;
    await this.#stop(this.#find(jobId));
  }

  /** Ends the job's export and drops its snapshot. JOB_UNKNOWN. */
  async release(jobId: string): Promise<void> {
    if (this.#released.has(jobId)) return;
    const job = this.#find(jobId);
    await this.#stop(job);
    const snapshot = await job.snapshot;
    await snapshot.release();
    this.#jobs.delete(jobId);
    this.#released.add(jobId);
  }

  /** Jobs with a snapshot that is not released. */
  get active(): readonly string[] {
    return [...this.#jobs.keys()];
  }

  async #serve(job: SourceJob, order: ExportOrder): Promise<ExportSession> {
    const snapshot = await job.snapshot;
    const disks = snapshot.disks.map(({ disk, path, sizeBytes }) => ({ disk, path, sizeBytes }));
    return await this.#parts.startExport({ ...order, disks });
  }

  async #stop(job: SourceJob): Promise<void> {
    const { exporting } = job;
    if (!exporting) return;
    // Before anything is awaited: a start that comes meanwhile must find the token spent.
    this.#spent.add(exporting.token);
    const session = await exporting.session;
    if (job.exporting !== exporting) return;
    const status = statusOf(session);
    await session.stop();
    job.last = { ...status, running: false, connections: 0 };
    job.exporting = undefined;
  }

  #find(jobId: string): SourceJob {
    const job = this.#jobs.get(jobId);
    if (!job) throw new RehostError('JOB_UNKNOWN', `This machine has no snapshot for job '${jobId}'.`);
    return job;
  }
}

function statusOf(session: ExportSession): ExportStatus {
  return { running: true, ...session.status() };
}
