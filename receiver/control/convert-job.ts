/** The conversion of this VM's job: started once, asked about often. */
import type { ParamsOf, RECEIVER_METHODS, ResultOf, StepReport } from '../../appliance/api/control.ts';
import { toWire, type WireError } from '../../appliance/api/errors.ts';
import { rescanPartitions } from '../../native/block-control.ts';
import { type FindDisk, waitForDisk } from '../block-serials.ts';
import type { ConvertRequest, ConvertResult } from '../convert/convert.ts';

/** Hot-plugging under emulation takes seconds, ms. */
const APPEAR_DEADLINE_MS = 60_000;

export interface ConvertParts {
  find: FindDisk;
  /** Loaded when it is first needed. */
  convert(request: ConvertRequest): Promise<ConvertResult>;
  log(line: string): void;
}

type Order = Omit<ParamsOf<typeof RECEIVER_METHODS, 'convert.start'>, 'jobId'>;
type Status = ResultOf<typeof RECEIVER_METHODS, 'convert.status'>;

export class ConvertJob {
  #progress: Status['progress'] = 'idle';
  readonly #steps: StepReport[] = [];
  #guest = '';
  #error: WireError | null = null;
  readonly #stop = new AbortController();
  #ended: Promise<void> = Promise.resolve();
  readonly #parts: ConvertParts;

  constructor(parts: ConvertParts) {
    this.#parts = parts;
  }

  get running(): boolean {
    return this.#progress === 'running';
  }

  /** Begins, or attaches to what runs or is done. A conversion that failed is not begun again: its overlays are not what they were. */
  start(order: Order): void {
    if (this.#progress !== 'idle') return;
    this.#progress = 'running';
    this.#ended = this.#run(order).then(
      ({ guest }) => {
        this.#guest = guest;
        this.#progress = 'done';
      },
      (error: unknown) => {
        this.#error = toWire(error);
        this.#progress = 'failed';
        this.#parts.log(`conversion failed: ${this.#error.code} ${this.#error.message}`);
      },
    );
  }

  status(): Status {
    return { progress: this.#progress, steps: [...this.#steps], guest: this.#guest, error: this.#error };
  }

  /** Ends it; resolves when nothing of it runs. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }

  async #run({ disks, options }: Order): Promise<ConvertResult> {
    const { signal } = this.#stop;
    const found: { disk: string; device: string }[] = [];
    for (const { disk, serial } of disks) {
      const { path } = await waitForDisk(this.#parts.find, serial, APPEAR_DEADLINE_MS, signal);
      // The kernel's own scan of a disk just plugged in may not have ended.
      rescanPartitions(path);
      this.#parts.log(`overlay of ${disk} is ${path}`);
      found.push({ disk, device: path });
    }
    return await this.#parts.convert({
      disks: found,
      options,
      signal,
      log: (line) => this.#parts.log(line),
      onStep: (report) => this.#steps.push(report),
    });
  }
}
