/** The job engine: orders jobs, drives each through the table of states, resumes them after a crash. */
import { EventEmitter } from 'node:events';
import { RehostError } from '../api/errors.ts';
import type { Job, JobLimits, JobOrder, JobProgress } from '../api/job.ts';
import type { JobDependencies } from './dependencies.ts';
import { cancelled } from './following-state.ts';
import { checkKeptReplicas } from './kept-replica.ts';
import { JobLog } from './log.ts';
import { checkManifest } from './manifest/file.ts';
import { manifestKey } from './manifest/signature.ts';
import { type EnginePauses, PAUSES } from './pauses.ts';
import { preflight } from './preflight.ts';
import { Queue } from './queue.ts';
import { releaseSource } from './release.ts';
import { JobRun } from './run.ts';
import { hasEnded, isWorking, STATES } from './states.ts';
import type { JobKeys } from './token.ts';
import { pause } from './wait.ts';

/** How long a request waits for the record of a job's end to be written, ms. */
const SETTLE_LIMIT_MS = 10_000;

interface Run {
  abort: AbortController;
  ended: Promise<void>;
}

export class JobEngine extends EventEmitter<{ change: [jobId: string] }> {
  readonly #deps: JobDependencies;
  readonly #keys: JobKeys;
  readonly #pauses: EnginePauses;
  readonly #jobs = new Map<string, Job>();
  readonly #runs = new Map<string, Run>();
  readonly #progress = new Map<string, JobProgress>();
  /** Orders are taken one at a time: two of them never pass preflight for the same name or machine. */
  readonly #ordering = new Queue();
  readonly #amending = new Queue();
  /** Fires when the orchestrator stops. */
  readonly #stop = new AbortController();

  constructor(deps: JobDependencies, keys: JobKeys, pauses: EnginePauses = PAUSES) {
    super();
    this.#deps = deps;
    this.#keys = keys;
    this.#pauses = pauses;
    for (const job of deps.store.all()) this.#jobs.set(job.id, job);
  }

  /** Goes on with every job that had not ended. */
  async start(): Promise<void> {
    for (const job of this.#jobs.values()) {
      if (hasEnded(job.state)) continue;
      // What ran when the earlier life ended is begun anew, as a phase of its own.
      for (const phase of job.phases) phase.endedAt ??= new Date().toISOString();
      this.#log(job).line(`the orchestrator was started again; the job goes on in state '${job.state}'`);
      this.#launch(job);
    }
  }

  /** Stops driving; jobs keep their state and go on at the next start. What runs on agents and transfer VMs is not touched. */
  async stop(): Promise<void> {
    this.#stop.abort();
    for (const run of this.#runs.values()) run.abort.abort();
    await Promise.all([...this.#runs.values()].map((run) => run.ended));
  }

  list(): Job[] {
    return [...this.#jobs.values()].sort((a, b) => a.createdAt.localeCompare(b.createdAt));
  }

  /** JOB_UNKNOWN. */
  get(id: string): Job {
    const job = this.#jobs.get(id);
    if (!job) throw new RehostError('JOB_UNKNOWN', `There is no job '${id.slice(0, 64)}'.`);
    return job;
  }

  progress(id: string): JobProgress | null {
    return this.#progress.get(id) ?? null;
  }

  logPath(id: string): string {
    return this.#log(this.get(id)).path;
  }

  /** Preflight, then a durable record, then the work begins. A refusal changes nothing. */
  order(order: JobOrder): Promise<Job> {
    return this.#ordering.run(async () => {
      const machine = this.#deps.machines.find(order.machine);
      const hypervisor = await this.#deps.hypervisors.get(order.hypervisor);
      const job = await preflight(order, machine, hypervisor, this.#running());
      await this.#deps.store.save(job);
      this.#jobs.set(job.id, job);
      this.#changed(job.id);
      this.#launch(job);
      return job;
    });
  }

  /**
   * Ends a job: what it made is removed, verified replicas included. Answers when the request is durable; the job ends in
   * `cancelled`. A job that failed and left something can be cancelled too. JOB_UNKNOWN, JOB_ENDED, TIMEOUT.
   */
  async cancel(id: string): Promise<Job> {
    const job = this.get(id);
    const ended = hasEnded(job.state);
    if (ended) await this.#settled(job);
    if (ended && !(job.state === 'failed' && (job.kept.length > 0 || job.cleanUpFailed))) {
      throw new RehostError('JOB_ENDED', `Job ${job.id} has ended (${job.state}).`);
    }
    if (ended) {
      await this.#change(job, { cancelRequested: true, state: 'clean-up' });
      this.#launch(job);
    } else {
      await this.#amend(job, () => ({ cancelRequested: true }));
      // A clean-up that runs already is not interrupted; it sees the request at its end.
      if (!STATES[job.state].cleans) this.#runs.get(id)?.abort.abort(cancelled());
    }
    this.#changed(id);
    return job;
  }

  /** Asks the job to stand still; answers when that is durable. It holds in every phase until `resume`. JOB_UNKNOWN, JOB_ENDED. */
  pause(id: string): Promise<Job> {
    return this.#setPause(id, true);
  }

  /** Takes a pause back. Nothing to do where there is none. JOB_UNKNOWN, JOB_ENDED. */
  resume(id: string): Promise<Job> {
    return this.#setPause(id, false);
  }

  /** Changes the limits of a job; answers when they are durable. A copy that runs obeys within seconds. JOB_UNKNOWN, JOB_ENDED. */
  async limit(id: string, { bytesPerSecond, ...manners }: JobLimits): Promise<Job> {
    const job = this.#unended(id);
    await this.#amend(job, ({ order: { bytesPerSecond: before, ...order } }) => {
      const rate = bytesPerSecond === undefined ? before : bytesPerSecond;
      return { order: { ...order, ...manners, ...(rate == null ? {} : { bytesPerSecond: rate }) } };
    });
    this.#changed(id);
    return job;
  }

  /**
   * Begins to check the replicas of an ended job against its manifest; the outcome is the job's `lastCheck`, and the job is `done` or
   * `failed` again afterwards. JOB_UNKNOWN, REQUEST_INVALID while it has replicas only in part, NOT_FOUND and MANIFEST_INVALID for its manifest.
   */
  verify(id: string): Promise<Job> {
    return this.#ordering.run(async () => {
      const job = this.get(id);
      if (hasEnded(job.state)) await this.#settled(job);
      const has = job.state === 'done' || (job.state === 'failed' && job.kept.length > 0);
      if (!has || !job.replicaVerified) {
        throw new RehostError('REQUEST_INVALID', `Job ${job.id} (${job.state}) has no verified replica to check.`, {
          next: 'Wait for its end; a job that was cancelled, or failed before its copy was verified, has none.',
        });
      }
      await checkManifest(job, this.#log(job), manifestKey(this.#keys.manifest));
      await this.#change(job, { state: 'recheck' });
      this.#changed(id);
      this.#launch(job);
      return job;
    });
  }

  /**
   * Goes on with a failed job whose verified replicas were kept: no second copy. Where its clean-up had failed, that is done first,
   * and a further retry goes on. JOB_UNKNOWN, JOB_ENDED, NAME_TAKEN, REPLICA_CHANGED.
   */
  retry(id: string): Promise<Job> {
    return this.#ordering.run(async () => {
      const job = this.get(id);
      if (hasEnded(job.state)) await this.#settled(job);
      if (job.state === 'failed' && job.cleanUpFailed) return await this.#cleanUpAgain(job);
      if (job.state !== 'failed' || !job.replicaVerified || job.cancelRequested) {
        throw new RehostError('JOB_ENDED', `Job ${job.id} (${job.state}) has kept no verified replica to begin with.`);
      }
      const hypervisor = await this.#deps.hypervisors.get(job.hypervisor);
      const promised = this.#running().some(
        (other) => other.order.name === job.order.name && other.hypervisor === job.hypervisor,
      );
      if (promised || (await hypervisor.driver.vmState(job.order.name)) !== 'absent') {
        throw new RehostError(
          'NAME_TAKEN',
          `Hypervisor '${hypervisor.name}' has a VM named '${job.order.name}' by now.`,
        );
      }
      if (job.lastCheck?.ok === false) {
        throw new RehostError(
          'REPLICA_CHANGED',
          `A check of job ${job.id} has found its replica damaged: ${job.lastCheck.message}`,
        );
      }
      await checkKeptReplicas(hypervisor.driver, job);
      await this.#change(job, { state: 'provision', error: null, kept: [], steps: [], proof: null, fruitless: 0 });
      this.#changed(id);
      this.#launch(job);
      return job;
    });
  }

  /** An end counts when it is written: until then its run still holds the job, and a second one must not begin. TIMEOUT. */
  async #settled(job: Job): Promise<void> {
    const run = this.#runs.get(job.id);
    if (!run) return;
    const limit = pause(SETTLE_LIMIT_MS, this.#stop.signal).catch(() => undefined);
    await Promise.race([run.ended, limit]);
    if (this.#runs.has(job.id)) throw new RehostError('TIMEOUT', `The end of job ${job.id} cannot be written yet.`);
  }

  async #cleanUpAgain(job: Job): Promise<Job> {
    await this.#change(job, { state: 'clean-up' });
    this.#changed(job.id);
    this.#launch(job);
    return job;
  }

  /** To be called when a machine's agent dials in: jobs that ended while it was away let go of it now. */
  async settle(machineId: string): Promise<void> {
    if (!this.#deps.agents.get(machineId)) return;
    for (const job of this.#jobs.values()) {
      if (job.machineId !== machineId || !job.releasePending || isWorking(job.state)) continue;
      await releaseSource({ job, deps: this.#deps, log: this.#log(job) });
      if (!job.releasePending) await this.#deps.store.save(job);
    }
  }

  #running(): Job[] {
    return [...this.#jobs.values()].filter((job) => isWorking(job.state));
  }

  #log(job: Job): JobLog {
    return new JobLog(this.#deps.stateDir, job.id, (text) => this.#deps.warn(text));
  }

  #changed(id: string): void {
    this.emit('change', id);
  }

  /** A job that has not ended and is not being cleaned up. JOB_UNKNOWN, JOB_ENDED. */
  #unended(id: string): Job {
    const job = this.get(id);
    if (!hasEnded(job.state) && !STATES[job.state].cleans) return job;
    throw new RehostError('JOB_ENDED', `Job ${job.id} has ended (${job.state}).`);
  }

  async #setPause(id: string, pauseRequested: boolean): Promise<Job> {
    const job = this.#unended(id);
    if (job.pauseRequested !== pauseRequested) await this.#amend(job, () => ({ pauseRequested }));
    this.#changed(id);
    return job;
  }

  /** Of a job that may run. The record itself is saved, not a copy: its state may go on meanwhile, and an older one must not be written over it. */
  #amend(
    job: Job,
    change: (job: Job) => Partial<Pick<Job, 'cancelRequested' | 'pauseRequested' | 'order'>>,
  ): Promise<void> {
    // One at a time: a change that is taken back never takes another one with it.
    return this.#amending.run(async () => {
      const { cancelRequested, pauseRequested, order } = job;
      Object.assign(job, change(job));
      try {
        await this.#deps.store.save(job);
      } catch (error) {
        Object.assign(job, { cancelRequested, pauseRequested, order });
        throw error;
      }
    });
  }

  /** Of a job that does not run: durable first, then in memory. A change that cannot be written was not made. */
  async #change(job: Job, change: Partial<Job>): Promise<void> {
    await this.#deps.store.save({ ...job, ...change });
    Object.assign(job, change);
  }

  #launch(job: Job): void {
    const abort = new AbortController();
    const run = new JobRun(job, {
      deps: this.#deps,
      keys: this.#keys,
      pauses: this.#pauses,
      log: this.#log(job),
      stop: this.#stop.signal,
      changed: () => this.#changed(job.id),
      progress: (progress) => {
        if (progress) this.#progress.set(job.id, progress);
        else this.#progress.delete(job.id);
      },
    });
    const ended = run
      .drive(abort)
      .catch((error: unknown) => {
        // A fault of the engine itself: the job keeps its last durable state and goes on at the next start.
        this.#deps.warn(`job ${job.id}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
      })
      .finally(() => this.#runs.delete(job.id));
    this.#runs.set(job.id, { abort, ended });
  }
}
