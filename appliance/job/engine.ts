/** The job engine: orders jobs, drives each through the table of states, resumes them after a crash. */
import { EventEmitter } from 'node:events';
import { RehostError, toWire, type WireError } from '../api/errors.ts';
import type { Job, JobOrder, JobProgress } from '../api/job.ts';
import type { JobDependencies } from './dependencies.ts';
import { HANDLERS } from './handlers.ts';
import { checkKeptReplicas } from './kept-replica.ts';
import { JobLog } from './log.ts';
import { preflight } from './preflight.ts';
import { Queue } from './queue.ts';
import { releaseSource } from './release.ts';
import { hasEnded, STATES } from './states.ts';
import { transferToken } from './token.ts';
import { pause } from './wait.ts';

/** A clean-up that fails is tried again: the hypervisor may be away for a while. Then the job ends and says what may be left. */
const CLEAN_UP_TRIES = 10;

/** How long a request waits for the record of a job's end to be written, ms. */
const SETTLE_LIMIT_MS = 10_000;

/** How long the engine waits before it tries something again, ms. */
export interface EnginePauses {
  /** After a clean-up that failed. */
  cleanUpMs: number;
  /** After a record that could not be written: a full disk is a person's to mend, and the job waits for it. */
  saveMs: number;
  /** Between two looks at what runs elsewhere: a copy, a conversion, a boot. */
  pollMs: number;
}
const PAUSES: EnginePauses = { cleanUpMs: 15_000, saveMs: 15_000, pollMs: 1000 };

interface Run {
  abort: AbortController;
  ended: Promise<void>;
}

export class JobEngine extends EventEmitter<{ change: [jobId: string] }> {
  readonly #deps: JobDependencies;
  readonly #transferKey: Buffer;
  readonly #pauses: EnginePauses;
  readonly #jobs = new Map<string, Job>();
  readonly #runs = new Map<string, Run>();
  readonly #progress = new Map<string, JobProgress>();
  /** Orders are taken one at a time: two of them never pass preflight for the same name or machine. */
  readonly #ordering = new Queue();
  /** Fires when the orchestrator stops. */
  readonly #stop = new AbortController();

  constructor(deps: JobDependencies, transferKey: Buffer, pauses: EnginePauses = PAUSES) {
    super();
    this.#deps = deps;
    this.#transferKey = transferKey;
    this.#pauses = pauses;
    for (const job of deps.store.all()) this.#jobs.set(job.id, job);
  }

  /** Goes on with every job that had not ended. */
  async start(): Promise<void> {
    for (const job of this.#jobs.values()) {
      if (hasEnded(job.state)) continue;
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
      await this.#requestCancel(job);
      // A clean-up that runs already is not interrupted; it sees the request at its end.
      if (job.state !== 'clean-up') this.#runs.get(id)?.abort.abort(cancelled());
    }
    this.#changed(id);
    return job;
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
      await checkKeptReplicas(hypervisor.driver, job);
      await this.#change(job, { state: 'provision', error: null, kept: [], steps: [], proof: null });
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
      if (job.machineId !== machineId || !job.releasePending || !hasEnded(job.state)) continue;
      await releaseSource({ job, deps: this.#deps, log: this.#log(job) });
      if (!job.releasePending) await this.#deps.store.save(job);
    }
  }

  #running(): Job[] {
    return [...this.#jobs.values()].filter((job) => !hasEnded(job.state));
  }

  #log(job: Job): JobLog {
    return new JobLog(this.#deps.stateDir, job.id, (text) => this.#deps.warn(text));
  }

  #changed(id: string): void {
    this.emit('change', id);
  }

  /** The record itself is saved, not a copy: its state may go on meanwhile, and an older one must not be written over it. */
  async #requestCancel(job: Job): Promise<void> {
    const before = job.cancelRequested;
    job.cancelRequested = true;
    try {
      await this.#deps.store.save(job);
    } catch (error) {
      job.cancelRequested = before;
      throw error;
    }
  }

  /** Of a job that does not run: durable first, then in memory. A change that cannot be written was not made. */
  async #change(job: Job, change: Partial<Job>): Promise<void> {
    await this.#deps.store.save({ ...job, ...change });
    Object.assign(job, change);
  }

  #launch(job: Job): void {
    const abort = new AbortController();
    const ended = this.#drive(job, abort)
      .catch((error: unknown) => {
        // A fault of the engine itself: the job keeps its last durable state and goes on at the next start.
        this.#deps.warn(`job ${job.id}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
      })
      .finally(() => this.#runs.delete(job.id));
    this.#runs.set(job.id, { abort, ended });
  }

  async #drive(job: Job, abort: AbortController): Promise<void> {
    const log = this.#log(job);
    if (job.cancelRequested && job.state !== 'clean-up') abort.abort(cancelled());
    let tries = 0;
    while (!hasEnded(job.state)) {
      const cleaning = job.state === 'clean-up';
      const failure = await this.#runState(job, log, cleaning ? this.#stop.signal : abort.signal);
      if (this.#stop.signal.aborted && failure) return;
      this.#progress.delete(job.id);
      if (failure) log.line(`${job.state} failed: ${failure.code}: ${failure.message}`);
      if (cleaning && failure && ++tries < CLEAN_UP_TRIES) {
        if (!(await this.#wait(this.#pauses.cleanUpMs))) return;
        continue;
      }
      await this.#enter(job, log, cleaning ? afterCleanUp(job, failure) : afterWork(job, failure));
    }
    await this.#deps.audit({
      who: 'job engine',
      what: `job.${job.state}`,
      subject: job.id,
      result: job.error?.code ?? 'ok',
    });
  }

  /** Durable first, then acted on. */
  async #enter(job: Job, log: JobLog, state: Job['state']): Promise<void> {
    job.state = state;
    await this.#save(job, log);
    log.line(`state '${state}': ${STATES[state].does}`);
    this.#changed(job.id);
  }

  /** Saves, waiting for as long as the record cannot be written: a full disk is no reason to throw a copy away. */
  async #save(job: Job, log: JobLog): Promise<void> {
    for (;;) {
      try {
        await this.#deps.store.save(job);
        return;
      } catch (error) {
        this.#deps.warn(`job ${job.id} waits: its record cannot be written: ${String(error)}`);
        log.error('the record cannot be written, the job waits', error);
        if (!(await this.#wait(this.#pauses.saveMs))) throw error;
      }
    }
  }

  /** False when the orchestrator stops meanwhile. */
  async #wait(ms: number): Promise<boolean> {
    await pause(ms, this.#stop.signal).catch(() => undefined);
    return !this.#stop.signal.aborted;
  }

  /** Runs one state's handler; answers the error it ended with, if it did. */
  async #runState(job: Job, log: JobLog, signal: AbortSignal): Promise<WireError | undefined> {
    const { state } = job;
    const handler = HANDLERS[state];
    const phase = { state, startedAt: new Date().toISOString(), endedAt: null as string | null, detail: '' };
    job.phases.push(phase);
    try {
      if (!handler) throw new Error(`state '${state}' has no handler`);
      signal.throwIfAborted();
      await this.#save(job, log);
      const hypervisor = await this.#deps.hypervisors.get(job.hypervisor);
      await handler({
        job,
        deps: this.#deps,
        hypervisor,
        log,
        signal,
        pollMs: this.#pauses.pollMs,
        token: transferToken(this.#transferKey, job.id),
        save: () => this.#save(job, log),
        progress: (update) => {
          this.#progress.set(job.id, { ...update, state });
          this.#changed(job.id);
        },
        detail: (text) => {
          phase.detail = text;
          log.line(`${state}: ${text}`);
        },
      });
      return undefined;
    } catch (error) {
      if (!(error instanceof RehostError)) log.error(state, error);
      return toWire(error);
    } finally {
      phase.endedAt = new Date().toISOString();
    }
  }
}

function cancelled(): RehostError {
  return new RehostError('JOB_CANCELLED', 'The job was cancelled.');
}

/** Where a working state leads. A cancel that came when the handler no longer looked counts all the same. */
function afterWork(job: Job, failure: WireError | undefined): Job['state'] {
  const reason = failure ?? (job.cancelRequested ? toWire(cancelled()) : undefined);
  if (!reason) return STATES[job.state].next ?? 'failed';
  job.error = reason;
  return 'clean-up';
}

/** Where the clean-up leads: its own failure ends the job too, and says so. */
function afterCleanUp(job: Job, failure: WireError | undefined): Job['state'] {
  if (failure) {
    job.cleanUpFailed = true;
    job.error = {
      ...failure,
      message: `${job.error ? `${job.error.message} ` : ''}The clean-up failed: ${failure.message}`,
      next: `See that hypervisor '${job.hypervisor}' answers, then retry the job or cancel it once more; everything of it is named rehost-${job.id}-*.`,
    };
    return 'failed';
  }
  if (!job.cancelRequested) return 'failed';
  // The cancel came while a failure was cleaned up, after the replicas had been kept: once more, without keeping them.
  return job.kept.length > 0 ? 'clean-up' : 'cancelled';
}
