/** What this agent holds for jobs: a snapshot each, and the export that serves it. Every call may be repeated. */
import { createHash } from 'node:crypto';
import type { ReadManners } from '../../appliance/api/control.ts';
import { RehostError } from '../../appliance/api/errors.ts';
import { TOKEN_BYTES } from '../../appliance/api/transfer.ts';
import type { ExportOptions, ExportSession, ExportStatus } from '../export/serve.ts';
import type { DiskIdentities, Snapshot, SnapshotProvider } from '../snapshot/provider.ts';

/** Loaded when they are first needed: neither is before a job comes. */
export interface SourceParts {
  provider(): Promise<SnapshotProvider>;
  startExport(order: ExportOptions): Promise<ExportSession>;
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
  /** The running export, or the last one, which still says how far it came. */
  exporting: Exporting | undefined;
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

  /** The job's snapshot, taken at the first call; `identities` as for its provider. SNAPSHOT_REFUSED; REQUEST_INVALID when the job has one of other disks. */
  async snapshot(jobId: string, disks: readonly string[], identities?: DiskIdentities): Promise<Snapshot> {
    const names = [...new Set(disks)].sort();
    const present = this.#jobs.get(jobId);
    if (present) {
      if (present.disks === names.join(' ')) return await present.snapshot;
      throw new RehostError('REQUEST_INVALID', `Job '${jobId}' has a snapshot of other disks (${present.disks}).`);
    }
    const snapshot = this.#parts.provider().then((provider) => provider.create(names, identities));
    const job: SourceJob = { disks: names.join(' '), snapshot, exporting: undefined };
    this.#jobs.set(jobId, job);
    try {
      const taken = await snapshot;
      this.#released.delete(jobId);
      return taken;
    } catch (error) {
      if (this.#jobs.get(jobId) === job) this.#jobs.delete(jobId);
      throw error;
    }
  }

  /**
   * Serves the job's snapshot, or attaches to the export that does so with this token already; answers whether it is new.
   * TOKEN_SPENT, TOKEN_INVALID, JOB_UNKNOWN.
   */
  async startExport(order: Omit<ExportOptions, 'disks'>): Promise<boolean> {
    if (order.token.length !== TOKEN_BYTES)
      throw new RehostError('TOKEN_INVALID', `The token has ${order.token.length} bytes instead of ${TOKEN_BYTES}.`);
    const token = createHash('sha256').update(order.token).digest('hex');
    const job = this.#find(order.jobId);
    if (this.#spent.has(token))
      throw new RehostError('TOKEN_SPENT', `The token for job '${order.jobId}' was used before.`);
    const { exporting } = job;
    if (exporting && exporting.token === token) {
      await exporting.session;
      return false;
    }
    if (exporting && !this.#spent.has(exporting.token))
      throw new RehostError('TOKEN_INVALID', `Job '${order.jobId}' is exported with another token already.`);
    const mine: Exporting = { token, session: this.#serve(job, order) };
    job.exporting = mine;
    try {
      await mine.session;
    } catch (error) {
      if (job.exporting === mine) job.exporting = undefined;
      throw error;
    }
    return true;
  }

  /** How far the job's export is, or was when it was stopped. JOB_UNKNOWN. */
  async status(jobId: string): Promise<ExportStatus> {
    const { exporting } = this.#find(jobId);
    return exporting ? (await exporting.session).status() : NOTHING_SERVED;
  }

  /** Changes how the job's disks are read; nothing to do when there is no export. JOB_UNKNOWN. */
  async tuneExport(jobId: string, manners: ReadManners): Promise<void> {
    const { exporting } = this.#find(jobId);
    if (exporting) (await exporting.session).tune(manners);
  }

  /** Ends the job's export; its token is spent. Nothing to do when there is none. JOB_UNKNOWN. */
  async stopExport(jobId: string): Promise<void> {
    if (this.#released.has(jobId)) return;
    const { exporting } = this.#find(jobId);
    if (!exporting) return;
    // Before anything is awaited: a start that comes meanwhile must find the token spent.
    this.#spent.add(exporting.token);
    await (await exporting.session).stop();
  }

  /** Ends the job's export and drops its snapshot. JOB_UNKNOWN. */
  async release(jobId: string): Promise<void> {
    if (this.#released.has(jobId)) return;
    const job = this.#find(jobId);
    await this.stopExport(jobId);
    await (await job.snapshot).release();
    this.#jobs.delete(jobId);
    this.#released.add(jobId);
  }

  /** Jobs with a snapshot that is not released. */
  get active(): readonly string[] {
    return [...this.#jobs.keys()];
  }

  async #serve(job: SourceJob, order: Omit<ExportOptions, 'disks'>): Promise<ExportSession> {
    const snapshot = await job.snapshot;
    const disks = snapshot.disks.map(({ disk, path, sizeBytes }) => ({ disk, path, sizeBytes }));
    return await this.#parts.startExport({ ...order, disks });
  }

  #find(jobId: string): SourceJob {
    const job = this.#jobs.get(jobId);
    if (!job) throw new RehostError('JOB_UNKNOWN', `This machine has no snapshot for job '${jobId}'.`);
    return job;
  }
}
