/** Times the steps, keeps their report lines and hands each on as soon as it is there. */
import type { StepReport } from '../../appliance/api/control.ts';
import { RehostError } from '../../appliance/api/errors.ts';
import type { ConversionStep, Guest, StepResult } from './step.ts';

/** A report line is for people: longer ones are cut. */
const DETAIL_MAX = 1000;

export class Reporter {
  readonly steps: StepReport[] = [];
  readonly #onStep: (report: StepReport) => void;
  readonly #log: (line: string) => void;

  constructor(onStep: (report: StepReport) => void, log: (line: string) => void) {
    this.#onStep = onStep;
    this.#log = log;
  }

  /** Runs a part of the frame. Its error is reported and thrown on. */
  async frameStep<T>(step: string, work: () => Promise<StepResult & { value: T }>): Promise<T> {
    const { result, seconds } = await this.#timed(step, work);
    this.#push({ step, outcome: result.changed ? 'changed' : 'unchanged', detail: result.detail, seconds });
    return result.value;
  }

  /** Runs a step on the guest where it applies. Any error but a RehostError becomes CONVERSION_FAILED with the step's name. */
  async guestStep(step: ConversionStep, guest: Guest): Promise<void> {
    const { result, seconds } = await this.#timed(step.name, async () => {
      if (!(await step.applies(guest))) return undefined;
      return await step.apply(guest);
    });
    if (result) {
      this.#push({
        step: step.name,
        outcome: result.changed ? 'changed' : 'unchanged',
        detail: result.detail,
        seconds,
      });
    } else {
      this.#push({ step: step.name, outcome: 'not-applicable', detail: 'This guest does not need it.', seconds });
    }
  }

  /** Reports something that failed beside the steps. */
  failed(step: string, error: unknown, seconds = 0): void {
    this.#push({ step, outcome: 'failed', detail: error instanceof Error ? error.message : String(error), seconds });
  }

  async #timed<T>(step: string, work: () => Promise<T>): Promise<{ result: T; seconds: number }> {
    const begin = performance.now();
    const seconds = (): number => Math.round(performance.now() - begin) / 1000;
    this.#log(`${step} begins`);
    try {
      const result = await work();
      return { result, seconds: seconds() };
    } catch (cause) {
      this.failed(step, cause, seconds());
      // TOOL_FAILED promises that nothing was changed, which does not hold for the overlay.
      if (cause instanceof RehostError && cause.code !== 'TOOL_FAILED') throw cause;
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new RehostError('CONVERSION_FAILED', `The conversion step ${step} failed: ${reason}`, { cause });
    }
  }

  #push(report: StepReport): void {
    const line = { ...report, detail: report.detail.slice(0, DETAIL_MAX) };
    this.steps.push(line);
    this.#log(`${line.step}: ${line.outcome} (${line.seconds} s): ${line.detail}`);
    this.#onStep(line);
  }
}
