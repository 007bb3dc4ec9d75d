/** The job engine: orders jobs, drives each through the table of states, resumes them after a crash. */
import { EventEmitter } from 'node:events';
import { RehostError, toWire } from '../api/errors.ts';
import type { Job, JobOrder, JobProgress } from '../api/job.ts';
import type { JobDependencies } from './dependencies.ts';
import { HANDLERS } from './handlers.ts';
import { JobLog } from './log.ts';
import { preflight } from './preflight.ts';
import { hasEnded, STATES } from './states.ts';
import { transferToken } from './token.ts';
import { pause } from './wait.ts';

/** A clean-up that fails is tried again: the hypervisor may be away for a while. Then the job ends and says what may be left. */
const CLEAN_UP_TRIES = 10;
const CLEAN_UP_PAUSE_MS = 15_000;

interface Run {
  abort: AbortController;
  ended: Promise<void>;
}

export class JobEngine extends EventEmitter<{ change: [jobId: string] }> {
  readonly #deps: JobDependencies;
  readonly #transferKey: Buffer;
  readonly #jobs = new Map<string, Job>();
  readonly #runs = new Map<string, Run>();
  readonly #progress = new Map<string, JobProgress>();
  /** Orders are taken one at a time: two of them never pass preflight for the same name or machine. */
  #ordering: Promise<unknown> = Promise.resolve();
  #stopping = false;

  constructor(deps: JobDependencies, transferKey: Buffer) {
    super();
    this.#deps = deps;
    this.#transferKey = transferKey;
    for (const job of deps.store.all()) this.#jobs.set(job.id, job);
  }

  /** Goes on with every job that had not ended. */
  async start(): Promise<void> {
    for (const job of this.#jobs.values()) {
      if (hasEnded(job.state)) continue;
      const log = new JobLog(this.#deps.stateDir, job.id);
      log.line(`the orchestrator was started again; the job goes on in state '${job.state}'`);
      this.#launch(job);
    }
  }

  /** Stops driving; jobs keep their state and go on at the next start. What runs on agents and transfer VMs is not touched. */
  async stop(): Promise<void> {
    this.#stopping = true;
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
    return new JobLog(this.#deps.stateDir, this.get(id).id).path;
  }

  /** Preflight, then a durable record, then the work begins. A refusal changes nothing. */
  order(order: JobOrder): Promise<Job> {
    return this.#exclusive(async () => {
      const machine = this.#deps.machines.find(order.machine);
      const hypervisor = await this.#deps.hypervisors.get(order.hypervisor);
      const running = [...this.#jobs.values()].filter((job) => !hasEnded(job.state));
      const job = await preflight(order, machine, hypervisor, running);
      await this.#deps.store.save(job);
      this.#jobs.set(job.id, job);
      this.#changed(job.id);
      this.#launch(job);
      return job;
    });
  }

  /**
   * Ends a job: what it made is removed, verified replicas included. Answers at once; the job ends in `cancelled`.
   * A job that failed and kept its replicas can be cancelled too. JOB_UNKNOWN, JOB_ENDED.
   */
  cancel(id: string): Promise<Job> {
    return this.#exclusive(async () => {
      const job = this.get(id);
      if (hasEnded(job.state) && !(job.state === 'failed' && job.kept.length > 0)) {
        throw new RehostError('JOB_ENDED', `Job ${job.id} has ended (${job.state}).`);
      }
      job.cancelRequested = true;
      if (hasEnded(job.state)) {
        job.state = 'clean-up';
        await this.#deps.store.save(job);
        this.#launch(job);
      } else {
        await this.#deps.store.save(job);
        // A clean-up that runs already is not interrupted; it sees the request at its end.
        if (job.state !== 'clean-up')
          this.#runs.get(id)?.abort.abort(new RehostError('JOB_CANCELLED', 'The job was cancelled.'));
      }
      this.#changed(id);
      return job;
    });
  }

  /** Goes on with a failed job whose verified replicas were kept: no second copy. JOB_UNKNOWN, JOB_ENDED. */
  retry(id: string): Promise<Job> {
    return this.#exclusive(async () => {
      const job = this.get(id);
      if (job.state !== 'failed' || job.kept.length === 0) {
        throw new RehostError(
          'JOB_ENDED',
          `Job ${job.id} (${job.state}) has kept nothing that a retry could begin with.`,
        );
      }
      const hypervisor = await this.#deps.hypervisors.get(job.hypervisor);
      if ((await hypervisor.driver.vmState(job.order.name)) !== 'absent') {
        throw new RehostError(
          'NAME_TAKEN',
          `Hypervisor '${hypervisor.name}' has a VM named '${job.order.name}' by now.`,
        );
      }
      Object.assign(job, { state: 'provision', error: null, kept: [], steps: [], proof: null } satisfies Partial<Job>);
      await this.#deps.store.save(job);
      this.#changed(id);
      this.#launch(job);
      return job;
    });
  }

  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#ordering.then(work);
    this.#ordering = mine.catch(() => undefined);
    return mine;
  }

  #changed(id: string): void {
    this.emit('change', id);
  }

  #launch(job: Job): void {
    const abort = new AbortController();
    const ended = this.#drive(job, abort).finally(() => this.#runs.delete(job.id));
    this.#runs.set(job.id, { abort, ended });
  }

  async #drive(job: Job, abort: AbortController): Promise<void> {
    const log = new JobLog(this.#deps.stateDir, job.id);
    if (job.cancelRequested && job.state !== 'clean-up')
      abort.abort(new RehostError('JOB_CANCELLED', 'The job was cancelled.'));
    let tries = 0;
    while (!hasEnded(job.state)) {
      const cleaning = job.state === 'clean-up';
      const failure = await this.#runState(job, log, cleaning ? new AbortController().signal : abort.signal);
      if (this.#stopping && failure) return;
      this.#progress.delete(job.id);
      if (!failure) {
        await this.#enter(
          job,
          log,
          cleaning && job.cancelRequested ? 'cancelled' : (STATES[job.state].next ?? 'failed'),
        );
        continue;
      }
      log.line(`${job.state} failed: ${failure.code}: ${failure.message}`);
      if (!cleaning) {
        job.error = failure;
        await this.#enter(job, log, 'clean-up');
      } else if (++tries < CLEAN_UP_TRIES) {
        await pause(CLEAN_UP_PAUSE_MS, abort.signal).catch(() => undefined);
      } else {
        job.error = {
          code: failure.code,
          message: `${job.error ? `${job.error.message} ` : ''}The clean-up failed: ${failure.message}`,
          safe: failure.safe,
          next: `Remove what is named rehost-${job.id}-* on hypervisor '${job.hypervisor}', or cancel the job once more.`,
        };
        // Names what a second cancel has to look for.
        job.kept = job.disks.flatMap((disk) => [disk.replica, disk.overlay]);
        await this.#enter(job, log, 'failed');
      }
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
    await this.#deps.store.save(job);
    log.line(`state '${state}': ${STATES[state].does}`);
    this.#changed(job.id);
  }

  /** Runs one state's handler; answers the error it ended with, if it did. */
  async #runState(job: Job, log: JobLog, signal: AbortSignal): Promise<ReturnType<typeof toWire> | undefined> {
    const { state } = job;
    const handler = HANDLERS[state];
    const phase = { state, startedAt: new Date().toISOString(), endedAt: null as string | null, detail: '' };
    job.phases.push(phase);
    try {
      if (!handler) throw new Error(`state '${state}' has no handler`);
      signal.throwIfAborted();
      await this.#deps.store.save(job);
      const hypervisor = await this.#deps.hypervisors.get(job.hypervisor);
      await handler({
        job,
        deps: this.#deps,
        hypervisor,
        log,
        signal,
        token: transferToken(this.#transferKey, job.id),
        save: () => this.#deps.store.save(job),
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
      if (!(error instanceof RehostError))
        log.line(`${state}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
      return toWire(error);
    } finally {
      phase.endedAt = new Date().toISOString();
    }
  }
}
