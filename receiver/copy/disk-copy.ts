/** One disk of a copy: its plan, what of the journal is believed, and the thread that zeroes, flushes and records. */
import type { CopyDiskState } from '../../appliance/api/control.ts';
import { RehostError, toWire, type WireError } from '../../appliance/api/errors.ts';
import { REHOST_HASH_BYTES } from '../../appliance/api/nbd.ts';
import { Board } from './board.ts';
import { hashOf, makePlan } from './plan.ts';
import { chooseSample, everyRecorded } from './sample.ts';
import type { DiskWork, TargetCommand, TargetReport, TargetWork } from './shared.ts';
import { Thread } from './thread.ts';

/** Failed writes or flushes of a disk that are answered by copying what was not flushed again; the next one is the end. */
const WRITE_FAILURES_MAX = 1;

/** What the journal has of a disk. */
export interface DiskRecord {
  /** REHOST_HASH_BYTES for each block. */
  list: Uint8Array;
  /** Pairs of offset and length. */
  bad: readonly number[];
  /** It is of the present snapshot; else all of it is compared with the source before it is believed. */
  sameSnapshot: boolean;
}

/** How a disk tells its session that something has changed. */
export interface DiskEvents {
  /** The copy cannot go on. */
  failed(error: WireError): void;
  /** The target failed, and the copy goes on. */
  stumbled(message: string): void;
  /** The tender has done something: there may be new work for connections, or the disk is done. */
  tended(): void;
}

export class DiskCopy {
  readonly work: DiskWork;
  readonly #roomBytes: number;
  readonly #record: DiskRecord | undefined;
  readonly #events: DiskEvents;
  readonly #tender: Thread<TargetCommand>;
  board: Board | undefined;
  /** Blocks of the journal, as indices of the plan, that the source is asked about before it is believed. */
  sample: readonly number[] = [];
  #resumedBytes = 0;
  #zeroed = false;
  #flushing = false;
  /** performance.now() of the last flush, ms. */
  #flushedAt = performance.now();
  #done = false;
  #writeFailures = 0;
  /** `#writeFailures` when the tender was given its present orders. */
  readonly #failuresAt = { flush: 0, 'zero-holes': 0, compared: 0 };

  constructor(
    work: DiskWork,
    roomBytes: number,
    record: DiskRecord | undefined,
    tending: Omit<TargetWork, 'target'>,
    events: DiskEvents,
  ) {
    this.work = work;
    this.#roomBytes = roomBytes;
    this.#record = record;
    this.#events = events;
    this.#tender = new Thread(
      'target',
      { ...tending, target: work.target } satisfies TargetWork,
      (report) => this.#tended(report as TargetReport),
      (error) => events.failed(toWire(error)),
    );
  }

  /** The last flush covered everything. */
  get done(): boolean {
    return this.#done;
  }

  /** Connections can do something for it. */
  get wanting(): boolean {
    return !this.board?.complete || this.sample.length > 0;
  }

  /** Grows with what the target's thread does. */
  get tendedSteps(): number {
    return Number(this.#zeroed) + Number(this.#done) + (this.board?.holeBytes ?? 0);
  }

  /** To be noted when something is ordered that writes: see `writeFailed`. */
  get writeFailures(): number {
    return this.#writeFailures;
  }

  status(): CopyDiskState {
    const { board } = this;
    return {
      disk: this.work.disk,
      sizeBytes: this.work.sizeBytes,
      usedBytes: board?.plan.usedBytes ?? null,
      copiedBytes: board?.copiedBytes ?? 0,
      zeroBytes: board?.zeroBytes ?? 0,
      flushedBytes: board?.flushedBytes ?? 0,
      resumedBytes: this.#resumedBytes,
      badRanges: board?.badRanges().map(([offset, length]) => ({ offset, length })) ?? [],
    };
  }

  /** The map has come. `hashes`: the source can be asked for them. */
  mapped(ranges: Float64Array, hashes: boolean): void {
    const plan = makePlan(this.work.sizeBytes, ranges, this.#roomBytes, this.#record?.list);
    this.board = Board.create(plan);
    this.#resumedBytes = this.board.copiedBytes;
    const bad = this.#record?.bad ?? [];
    for (let i = 0; i + 1 < bad.length; i += 2) this.board.noteBad(bad[i] ?? 0, bad[i + 1] ?? 0);
    const { sameSnapshot = true } = this.#record ?? {};
    const asked = sameSnapshot ? chooseSample(plan, bad) : everyRecorded(plan, bad);
    if (asked.length > 0 && !hashes) {
      const what = `Disk '${this.work.disk}' is served without hashes: nobody can tell whether it is as it was.`;
      this.#events.failed(toWire(new RehostError('SOURCE_CHANGED', what)));
      return;
    }
    this.sample = asked;
    // Blocks that are on the target already lie outside of the holes in any event.
    this.#tend('zero-holes');
  }

  /** The source must still have what the journal says that it had: the error when it does not. */
  sampled(hashes: Uint8Array): RehostError | undefined {
    const { plan } = this.board ?? {};
    const asked = this.sample.slice(0, hashes.length / REHOST_HASH_BYTES);
    const changed = asked.find((block, index) => {
      const now = hashes.subarray(index * REHOST_HASH_BYTES, (index + 1) * REHOST_HASH_BYTES);
      // Zeros: it could not be read now, which says nothing about a change.
      if (plan === undefined || now.every((byte) => byte === 0)) return false;
      return Buffer.compare(now, hashOf(plan, block)) !== 0;
    });
    this.sample = this.sample.slice(asked.length);
    if (changed === undefined) {
      if (this.#record?.sameSnapshot === false && this.sample.length === 0) this.#tend('compared');
      return undefined;
    }
    const what = `block ${plan?.numbers[changed]} is not what it was`;
    return new RehostError(
      'SOURCE_CHANGED',
      `Disk '${this.work.disk}' has changed since this copy was begun (${what}).`,
    );
  }

  /**
   * What was written since the last good flush is copied again, once; a disk that fails again is not to be trusted with more. What was
   * begun before the failure that is known already (`failuresAt`) is part of it: storage that is gone for a moment fails for all threads.
   * A flush without room is no sign of a bad disk, however often.
   */
  writeFailed(error: WireError, failuresAt: number): void {
    this.#events.stumbled(error.message);
    if (error.code === 'POOL_FULL') return;
    if (failuresAt < this.#writeFailures) return;
    this.#writeFailures++;
    if (this.#writeFailures > WRITE_FAILURES_MAX) this.#events.failed(error);
  }

  /** All blocks are written: when the holes are zeroed as well, and the source is the one it was, one last flush makes the disk done. */
  settle(): void {
    if (this.board?.complete && this.#zeroed && this.sample.length === 0 && !this.#done) this.#flush();
  }

  /** Flushes when something was written and the last flush is `everyMs` ago. */
  flushIfDue(everyMs: number): void {
    const unflushed = this.board !== undefined && this.board.copiedBytes > this.board.flushedBytes;
    if (unflushed && performance.now() - this.#flushedAt >= everyMs) this.#flush();
  }

  /** Resolves when the tender is gone. The session's order to stop must be given before. */
  async ended(): Promise<void> {
    this.#tender.post({ kind: 'end' });
    await this.#tender.ended();
  }

  #flush(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    this.#tend('flush');
  }

  #tend(kind: 'flush' | 'zero-holes' | 'compared'): void {
    if (!this.board) return;
    this.#failuresAt[kind] = this.#writeFailures;
    this.#tender.post({ kind, board: this.board.shared });
  }

  #tended(report: TargetReport): void {
    if (report.kind === 'fatal') {
      this.#events.failed(report.error);
      return;
    }
    if (report.kind === 'noted') return;
    if (report.kind === 'zeroed') this.#zeroed = true;
    else if (report.kind === 'flushed') {
      this.#flushing = false;
      this.#flushedAt = performance.now();
      const { board } = this;
      // Blocks may have been written since it began.
      const all = board?.complete === true && board.flushedBytes === board.plan.usedBytes;
      this.#done = this.#zeroed && all && this.sample.length === 0;
    } else {
      if (report.command === 'flush') this.#flushing = false;
      this.writeFailed(report.error, this.#failuresAt[report.command]);
      if (report.command !== 'flush') this.#tend(report.command);
    }
    this.#events.tended();
  }
}
