/**
 * The independent re-read: every block in use is read back from the storage and its hash compared with the one that the agent took
 * while serving. Outside of them the target was told to be zero, and a lower layer may have ignored that. Holes of up to
 * FULL_HOLES_BYTES in all are read in full; larger ones by samples (first and last block of every hole, and one in every 64 MiB),
 * which finds storage that ignores such orders, without reading terabytes of zeros. The manifest says which of the two it was.
 */
import { createHash } from 'node:crypto';
import type { RECEIVER_METHODS, ResultOf } from '../../appliance/api/control.ts';
import { RehostError, toWire, type WireError } from '../../appliance/api/errors.ts';
import { blockCount } from '../../appliance/api/journal.ts';
import { REHOST_HASH_BYTES } from '../../appliance/api/nbd.ts';
import { ProgressClock } from './clock.ts';
import type { CopiedDisk } from './copy.ts';
import { Pace } from './pace.ts';
import { eachHole, hashOf, type Plan } from './plan.ts';
import { SessionFlags } from './shared.ts';
import { Thread } from './thread.ts';
import { VerifyCounters, type VerifyReport, type VerifyWork } from './verify-shared.ts';

/** Threads that read and hash: one cannot keep a fast disk busy with one read at a time. */
const THREADS = 2;
/** Reading this much that is nowhere allocated takes from 12 s to 2 min (0.5 to 5.6 GB/s of a sparse loop device), bytes. */
const FULL_HOLES_BYTES = 64 * 1024 ** 3;
/** A read that takes longer than this never comes, ms. */
const NO_PROGRESS_MS = 10 * 60_000;
const WATCH_MS = 1_000;
/** The list's zeros for blocks of which nothing is in use, so many at once. */
const GAP_BLOCKS = 64 * 1024;
const GAP = new Uint8Array(GAP_BLOCKS * REHOST_HASH_BYTES);

export type VerifyStatus = ResultOf<typeof RECEIVER_METHODS, 'verify.status'>;

export interface VerifySession {
  status(): VerifyStatus;
  /** Resolves when it is done or failed (see `status`) and its threads are gone. Never rejects. */
  readonly finished: Promise<void>;
  /** Pauses or resumes it. */
  pause(paused: boolean): void;
  /** Ends it; a thread whose storage hangs is left behind. Idempotent. */
  stop(): Promise<void>;
}

export interface VerifyOptions {
  /** Instead of FULL_HOLES_BYTES. */
  fullHolesBytes?: number;
  /** Instead of NO_PROGRESS_MS. */
  noProgressMs?: number;
  /** Begins paused. */
  paused?: boolean;
}

/** Verifies the disks of a copy that is done (`CopySession.copied`). */
export function startVerify(disks: readonly CopiedDisk[], options: VerifyOptions = {}): VerifySession {
  return new Verify(disks, options);
}

/** A disk's manifest in short: SHA-256, hex, over its list as the journal has it. */
export function manifestOf(plan: Plan): string {
  const sha256 = createHash('sha256');
  let next = 0;
  const skipTo = (number: number): void => {
    for (; next < number; next += Math.min(GAP_BLOCKS, number - next)) {
      sha256.update(GAP.subarray(0, Math.min(GAP_BLOCKS, number - next) * REHOST_HASH_BYTES));
    }
  };
  for (let index = 0; index < plan.count; index++) {
    skipTo(plan.numbers[index] ?? 0);
    sha256.update(hashOf(plan, index));
    next++;
  }
  skipTo(blockCount(plan.sizeBytes));
  return sha256.digest('hex');
}

class Verify implements VerifySession {
  readonly finished: Promise<void>;
  readonly #disks: readonly CopiedDisk[];
  readonly #flags = new SessionFlags();
  readonly #pace = new Pace();
  readonly #counters: VerifyCounters;
  readonly #threads: Thread<never>[];
  readonly #clock: ProgressClock<'reading'>;
  readonly #watch: NodeJS.Timeout;
  readonly #noProgressMs: number;
  /** Bytes outside of these blocks that are read in full; 0 when there are too many. */
  readonly #fullHoleBytes: number;
  readonly #fullHoles: boolean;
  #progress: VerifyStatus['progress'] = 'running';
  #error: WireError | null = null;
  #manifests: VerifyStatus['manifests'] = [];
  #left: number;

  constructor(disks: readonly CopiedDisk[], options: VerifyOptions) {
    this.#disks = disks;
    this.#pace.pause(options.paused ?? false);
    const holeBytes = disks.reduce((sum, { plan }) => sum + holeBytesOf(plan), 0);
    this.#fullHoles = holeBytes <= (options.fullHolesBytes ?? FULL_HOLES_BYTES);
    this.#fullHoleBytes = this.#fullHoles ? holeBytes : 0;
    this.#noProgressMs = options.noProgressMs ?? NO_PROGRESS_MS;
    this.#clock = new ProgressClock({ reading: this.#noProgressMs }, performance.now());
    this.#counters = new VerifyCounters(disks.length);
    const work: Omit<VerifyWork, 'thread'> = {
      disks: disks.map(({ disk, target, plan }) => ({ disk, target, plan })),
      counters: this.#counters.shared,
      flags: this.#flags.shared,
      pace: this.#pace.shared,
      threads: THREADS,
      fullHoles: this.#fullHoles,
    };
    this.#left = THREADS;
    this.#threads = Array.from(
      { length: THREADS },
      (_, index) =>
        new Thread<never>(
          'verify',
          { ...work, thread: index } satisfies VerifyWork,
          (report) => this.#heard(report as VerifyReport),
          (error) => this.#fail(toWire(error)),
        ),
    );
    this.#watch = setInterval(() => this.#look(), WATCH_MS);
    this.finished = Promise.all(this.#threads.map((thread) => thread.gone)).then(() => this.#conclude());
  }

  status(): VerifyStatus {
    return {
      progress: this.#progress,
      checkedBytes: this.#counters.checkedBytes + (this.#fullHoles ? this.#counters.holeBytes : 0),
      totalBytes: this.#disks.reduce((sum, { plan }) => sum + bytesOf(plan), 0) + this.#fullHoleBytes,
      manifests: this.#manifests,
      error: this.#error,
    };
  }

  pause(paused: boolean): void {
    this.#pace.pause(paused);
  }

  async stop(): Promise<void> {
    if (this.#progress === 'running')
      this.#fail(toWire(new RehostError('JOB_CANCELLED', 'The verification was stopped.')));
    await Promise.all(this.#threads.map((thread) => thread.ended()));
    await this.finished;
  }

  /** Once a second: was anything read since the last look? */
  #look(): void {
    const seen = this.#counters.checkedBytes + this.#counters.holeBytes;
    if (this.#pace.paused || !this.#clock.look('reading', seen, performance.now())) return;
    const what = `The replicas' storage answered no read for ${Math.round(this.#noProgressMs / 1000)} s.`;
    this.#fail(toWire(new RehostError('TARGET_WRITE_FAILED', what)));
  }

  #heard(report: VerifyReport): void {
    if (report.kind === 'failed') this.#fail(report.error);
    else this.#left--;
  }

  #fail(error: WireError): void {
    if (this.#progress !== 'running') return;
    this.#progress = 'failed';
    this.#error = error;
    this.#flags.stop();
    for (const thread of this.#threads) void thread.ended();
  }

  #conclude(): void {
    clearInterval(this.#watch);
    if (this.#progress !== 'running') return;
    if (this.#left > 0 || this.#disks.some(({ plan }, disk) => this.#counters.checkedBlocks(disk) !== plan.count)) {
      this.#fail(toWire(new RehostError('INTERNAL', 'The verification ended before everything was checked.')));
      return;
    }
    this.#manifests = this.#disks.map(({ disk, plan }) => ({
      disk,
      sha256: manifestOf(plan),
      blocks: plan.count,
      bytes: bytesOf(plan),
      holes: this.#fullHoles ? ('read' as const) : ('sampled' as const),
    }));
    this.#progress = 'done';
  }
}

/** What the blocks in use cover. */
function bytesOf(plan: Plan): number {
  return plan.sizeBytes - holeBytesOf(plan) + (plan.roomBytes - plan.sizeBytes);
}

function holeBytesOf(plan: Plan): number {
  let bytes = 0;
  eachHole(plan, (start, end) => {
    bytes += end - start;
  });
  return bytes;
}
