/** One job on its way through the table of states. */
import { RehostError, toWire } from '../api/errors.ts';
import type { Job, JobProgress } from '../api/job.ts';
import type { JobContext } from './context.ts';
import type { HypervisorHandle, JobDependencies } from './dependencies.ts';
import { cancelled, followingState, type StateEnd } from './following-state.ts';
import { HANDLERS } from './handlers.ts';
import type { JobLog } from './log.ts';
import { manifestKey } from './manifest/signature.ts';
import type { EnginePauses } from './pauses.ts';
import { hasEnded, isRecheck, STATES } from './states.ts';
import { type JobKeys, transferToken } from './token.ts';
import { TransferConsole } from './transfer-console.ts';
import { pause } from './wait.ts';

/** A clean-up that fails is tried again: the hypervisor may be away for a while. Then the job ends and says what may be left. */
const CLEAN_UP_TRIES = 10;
/** A hypervisor that comes and goes away again in the middle of one state this often is no use to anybody. */
const HYPERVISOR_TRIES = 10;

const NOTHING: Omit<JobProgress, 'state'> = {
  doneBytes: 0,
  totalBytes: null,
  wireBytes: 0,
  bytesPerSecond: 0,
  wireBytesPerSecond: 0,
  secondsLeft: null,
  retries: 0,
  reconnects: 0,
  disks: [],
  note: '',
};

export interface RunParts {
  deps: JobDependencies;
  keys: JobKeys;
  pauses: EnginePauses;
  log: JobLog;
  /** Fires when the orchestrator stops. */
  stop: AbortSignal;
  /** The record changed. */
  changed(): void;
  /** Undefined where there is nothing to show any more. */
  progress(progress: JobProgress | undefined): void;
}

export class JobRun {
  readonly #job: Job;
  readonly #parts: RunParts;
  readonly #transferConsole: TransferConsole;

  constructor(job: Job, parts: RunParts) {
    this.#job = job;
    this.#parts = parts;
    this.#transferConsole = new TransferConsole(parts.log);
  }

  /** Until the job has ended or the orchestrator stops. `abort` is fired by a cancel. */
  async drive(abort: AbortController): Promise<void> {
    await using _console = this.#transferConsole;
    const job = this.#job;
    const { deps, pauses, log, stop } = this.#parts;
    const { signal } = abort;
    if (job.cancelRequested && !STATES[job.state].cleans) abort.abort(cancelled());
    const rechecks = isRecheck(job.state);
    let tries = 0;
    let entered = false;
    while (!hasEnded(job.state)) {
      const { cleans, pausesItself } = STATES[job.state];
      // A state that was left in the middle by a stop of the orchestrator may have something running that has to be told.
      if (!cleans && (entered || !pausesItself)) await this.#standWhilePaused(signal);
      if (stop.aborted) return;
      const end = await this.#runState(cleans ? stop : signal);
      const { failure } = end;
      if (stop.aborted && failure) return;
      this.#parts.progress(undefined);
      if (failure) log.line(`${job.state} failed: ${failure.code}: ${failure.message}`);
      tries++;
      if (cleans && failure && tries < CLEAN_UP_TRIES) {
        if (!(await this.#wait(pauses.cleanUpMs))) return;
        continue;
      }
      const away = !cleans && failure?.code === 'HYPERVISOR_UNREACHABLE' && tries < HYPERVISOR_TRIES;
      if (away && (await this.#hypervisorBack(signal))) continue;
      if (stop.aborted) return;
      await this.#enter(followingState(job, end));
      tries = 0;
      entered = true;
    }
    await deps.audit({
      who: 'job engine',
      what: rechecks ? 'job.verify' : `job.${job.state}`,
      subject: job.id,
      result: rechecks ? resultOfCheck(job) : (job.error?.code ?? 'ok'),
    });
  }

  /** Durable first, then acted on. */
  async #enter(state: Job['state']): Promise<void> {
    this.#job.state = state;
    this.#job.paused = null;
    if (hasEnded(state)) this.#job.pauseRequested = false;
    await this.#save();
    this.#parts.log.line(`state '${state}': ${STATES[state].does}`);
    this.#parts.changed();
  }

  /** Saves, waiting for as long as the record cannot be written: a full disk is no reason to throw a copy away. */
  async #save(): Promise<void> {
    const { deps, pauses, log } = this.#parts;
    for (;;) {
      try {
        await deps.store.save(this.#job);
        return;
      } catch (error) {
        deps.warn(`job ${this.#job.id} waits: its record cannot be written: ${String(error)}`);
        log.error('the record cannot be written, the job waits', error);
        if (!(await this.#wait(pauses.saveMs))) throw error;
      }
    }
  }

  /** False when the orchestrator stops meanwhile. */
  async #wait(ms: number): Promise<boolean> {
    const { stop } = this.#parts;
    await pause(ms, stop).catch(() => undefined);
    return !stop.aborted;
  }

  /** Between states. Ends when the pause is taken back, by a cancel, which the next state sees, or by the orchestrator's stop. */
  async #standWhilePaused(signal: AbortSignal): Promise<void> {
    await this.#pausePoint(signal).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  }

  async #pausePoint(signal: AbortSignal): Promise<void> {
    const job = this.#job;
    if (!job.pauseRequested) return;
    await this.#standStill('PAUSED', `Paused as asked, before state '${job.state}' goes on.`);
    try {
      while (job.pauseRequested) await pause(this.#parts.pauses.pollMs, signal);
    } finally {
      if (!this.#parts.stop.aborted) await this.#goOn();
    }
  }

  async #standStill(code: string, message: string): Promise<void> {
    const { paused } = this.#job;
    if (paused?.code === code && paused.message === message) return;
    const since = paused?.code === code ? paused.since : new Date().toISOString();
    this.#job.paused = { code, message, since };
    await this.#save();
    if (paused?.code !== code) this.#parts.log.line(`stands still: ${code}: ${message}`);
    this.#parts.changed();
  }

  async #goOn(): Promise<void> {
    const { paused } = this.#job;
    if (!paused) return;
    this.#job.paused = null;
    await this.#save();
    this.#parts.log.line(`goes on (${paused.code} since ${paused.since})`);
    this.#parts.changed();
  }

  /** Waits for a hypervisor that does not answer; false when it stays away, or nobody wants to wait any more. */
  async #hypervisorBack(signal: AbortSignal): Promise<boolean> {
    const { deps, pauses } = this.#parts;
    const name = this.#job.hypervisor;
    await this.#standStill(
      'HYPERVISOR_UNREACHABLE',
      `Hypervisor '${name}' does not answer; the job goes on when it does.`,
    );
    const deadline = Date.now() + pauses.hypervisorAwayMs;
    for (;;) {
      await pause(pauses.hypervisorMs, signal).catch(() => undefined);
      if (signal.aborted || this.#parts.stop.aborted) return false;
      try {
        await (await deps.hypervisors.get(name)).driver.probe();
        return true;
      } catch (error) {
        if (!(error instanceof RehostError && error.code === 'HYPERVISOR_UNREACHABLE')) return true;
        if (Date.now() > deadline) return false;
      }
    }
  }

  /** Runs one state's handler. */
  async #runState(signal: AbortSignal): Promise<StateEnd> {
    const job = this.#job;
    const { state } = job;
    const { deps, log, stop } = this.#parts;
    const handler = HANDLERS[state];
    const phase = { state, startedAt: new Date().toISOString(), endedAt: null as string | null, detail: '' };
    job.phases.push(phase);
    const end: StateEnd = { failure: undefined, again: false };
    try {
      if (!handler) throw new Error(`state '${state}' has no handler`);
      signal.throwIfAborted();
      this.#forgetOldPause();
      await this.#save();
      const hypervisor = await deps.hypervisors.get(job.hypervisor);
      await handler(this.#context(hypervisor, signal, phase, end));
    } catch (error) {
      if (!(error instanceof RehostError)) log.error(state, error);
      end.failure = toWire(error);
    } finally {
      phase.endedAt = new Date().toISOString();
      // A hypervisor that is away is waited for, since when it is.
      if (!stop.aborted && job.paused?.code !== 'HYPERVISOR_UNREACHABLE') job.paused = null;
    }
    return end;
  }

  /** What an earlier life of the orchestrator waited for and nobody looks after now. AGENT_LOST keeps its time: it is bounded. */
  #forgetOldPause(): void {
    const job = this.#job;
    const code = job.paused?.code;
    if (code === 'HYPERVISOR_UNREACHABLE' || code === 'RECEIVER_LOST' || (code === 'PAUSED' && !job.pauseRequested))
      job.paused = null;
  }

  #context(
    hypervisor: HypervisorHandle,
    signal: AbortSignal,
    phase: { state: Job['state']; detail: string },
    end: StateEnd,
  ): JobContext {
    const job = this.#job;
    const { deps, keys, log, pauses } = this.#parts;
    return {
      job,
      deps,
      hypervisor,
      log,
      signal,
      pauses,
      transferConsole: this.#transferConsole,
      manifestKey: manifestKey(keys.manifest),
      token: () => transferToken(keys.transfer, job.id, job.attempts),
      save: () => this.#save(),
      progress: (update) => {
        this.#parts.progress({ ...NOTHING, ...update, state: phase.state });
        this.#parts.changed();
      },
      detail: (text) => {
        phase.detail = text;
        log.line(`${phase.state}: ${text}`);
      },
      standStill: (code, message) => this.#standStill(code, message),
      goOn: () => this.#goOn(),
      pausePoint: () => this.#pausePoint(signal),
      again: () => {
        end.again = true;
      },
    };
  }
}

/** For the audit log. */
function resultOfCheck({ lastCheck }: Job): string {
  if (lastCheck?.ok === true) return 'ok';
  return lastCheck?.ok === false ? 'VERIFY_MISMATCH' : 'not checked';
}
