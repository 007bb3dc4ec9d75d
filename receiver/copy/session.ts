/**
 * One copy at work: threads that bring connections, pull blocks and tend the targets, and this session, which tells them what to do.
 * Order of things for each disk: map, plan with what the journal has, a sample of that, blocks and zeros of the holes side by side with
 * flushes, the last flush, done.
 */
import { fromWire, RehostError, toWire, type WireError } from '../../appliance/api/errors.ts';
import { closeSocket } from '../../native/socket.ts';
import { Patience } from '../../native/stream.ts';
import { type PskCredentials, TlsStream } from '../../native/tls.ts';
import { Board } from './board.ts';
import type { CopiedDisk, CopyBasics, CopySession, CopyStatus } from './copy.ts';
import { Pace } from './pace.ts';
import { hashOf, makePlan } from './plan.ts';
import { chooseSample } from './sample.ts';
import {
  type DiskWork,
  type DoorReport,
  FLUSH_EVERY_MS,
  type JournalWork,
  type Meeting,
  type PullCommand,
  type PullReport,
  type PullWork,
  SessionFlags,
  type TargetCommand,
  type TargetReport,
  type TargetWork,
} from './shared.ts';
import { Thread } from './thread.ts';
import { type Phase, Watch } from './watch.ts';

const WATCH_MS = 1_000;
/** Connections in a row that break the protocol without anything copied in between. */
const VIOLATIONS_MAX = 5;
/** Connections in a row that end without one whole block. */
const FRUITLESS_MAX = 100;
/** Failed writes or flushes of a disk that are answered by copying what was not flushed again; the next one is the end. */
const WRITE_FAILURES_MAX = 1;

/** What the journal has of a disk. */
export interface DiskRecord {
  /** REHOST_HASH_BYTES for each block. */
  list: Uint8Array;
  /** Pairs of offset and length. */
  bad: readonly number[];
}

export interface SessionOptions extends CopyBasics {
  /** Sizes of the replicas, bytes. */
  rooms: readonly number[];
  journal: JournalWork | undefined;
  /** One for each disk, or none. */
  records: readonly DiskRecord[];
}

interface DiskState extends DiskWork {
  /** Size of the replica. */
  roomBytes: number;
  record: DiskRecord | undefined;
  tender: Thread<TargetCommand>;
  board: Board | undefined;
  mapper: Connector | undefined;
  /** Blocks of the journal, as indices of the plan, that the source is asked about before it is believed. */
  sample: readonly number[];
  resumedBytes: number;
  zeroed: boolean;
  flushing: boolean;
  /** performance.now() of the last flush, ms. */
  flushedAt: number;
  /** The last flush covered everything. */
  flushed: boolean;
  writeFailures: number;
  /** `writeFailures` when the tender was given its present orders to flush and to zero. */
  failuresAt: Record<'flush' | 'zero-holes', number>;
}

/** A pull thread and what it has. */
interface Connector {
  thread: Thread<PullCommand>;
  disk: DiskState | undefined;
  /** A command runs. */
  busy: boolean;
  /** `writeFailures` of its disk when its present command was given. */
  failuresAt: number;
}

export class Session implements CopySession {
  readonly port: number;
  readonly finished: Promise<void>;
  readonly #flags = new SessionFlags();
  readonly #pace = new Pace();
  readonly #disks: DiskState[];
  readonly #connectors: Connector[];
  readonly #door: Thread<never>;
  readonly #meeting: Meeting;
  readonly #timer: NodeJS.Timeout;
  readonly #watch: Watch;
  readonly #flushEveryMs: number;
  #met = false;
  #progress: CopyStatus['progress'] = 'running';
  #error: WireError | null = null;
  #reconnects = 0;
  #violations = 0;
  #fruitless = 0;
  /** Bytes of whole blocks at the last look. */
  #copied = 0;
  #lastFailure = '';
  #finish: () => void = () => {};

  constructor(options: SessionOptions, meeting: Meeting, security: PskCredentials | 'none', port: number) {
    this.port = port;
    this.#meeting = meeting;
    this.#watch = new Watch(options.bounds ?? {});
    this.#flushEveryMs = options.flushEveryMs ?? FLUSH_EVERY_MS;
    const flushEveryMs = this.#flushEveryMs;
    this.tune({ bytesPerSecond: options.bytesPerSecond ?? null, paused: options.paused ?? false });
    this.finished = new Promise((resolve) => {
      this.#finish = resolve;
    });
    const flags = this.#flags.shared;
    const pace = this.#pace.shared;
    const died = (error: Error): void => this.#fail(toWire(error));
    this.#disks = options.disks.map(({ disk, target, sizeBytes }, index) => ({
      disk,
      target,
      sizeBytes,
      roomBytes: options.rooms[index] ?? sizeBytes,
      record: options.records[index],
      tender: new Thread(
        'target',
        { disk: index, target, flags, pace, journal: options.journal, flushEveryMs } satisfies TargetWork,
        (report) => this.#tended(index, report as TargetReport),
        died,
      ),
      board: undefined,
      mapper: undefined,
      sample: [],
      resumedBytes: 0,
      zeroed: false,
      flushing: false,
      flushedAt: performance.now(),
      flushed: false,
      writeFailures: 0,
      failuresAt: { flush: 0, 'zero-holes': 0 },
    }));
    const disks = options.disks.map(({ disk, target, sizeBytes }) => ({ disk, target, sizeBytes }));
    const onReadError = options.onReadError ?? 'fail';
    this.#connectors = Array.from({ length: options.connections }, (_, index) => {
      const connector: Connector = {
        thread: new Thread(
          'pull',
          { worker: index + 1, disks, flags, pace, onReadError } satisfies PullWork,
          (report) => this.#heard(connector, report as PullReport),
          died,
        ),
        disk: undefined,
        busy: false,
        failuresAt: 0,
      };
      return connector;
    });
    this.#door = new Thread(
      'door',
      { meeting, security, flags },
      (report) => this.#arrived(report as DoorReport),
      died,
    );
    this.#timer = setInterval(() => this.#look(), Math.min(WATCH_MS, flushEveryMs));
  }

  status(): CopyStatus {
    return {
      progress: this.#progress,
      disks: this.#disks.map(({ disk, sizeBytes, board, resumedBytes }) => ({
        disk,
        sizeBytes,
        usedBytes: board?.plan.usedBytes ?? null,
        copiedBytes: board?.copiedBytes ?? 0,
        zeroBytes: board?.zeroBytes ?? 0,
        flushedBytes: board?.flushedBytes ?? 0,
        resumedBytes,
        badRanges: board?.badRanges().map(([offset, length]) => ({ offset, length })) ?? [],
      })),
      wireBytes: this.#flags.wireBytes,
      reconnects: this.#reconnects,
      retries: this.#sum(({ board }) => board?.retries ?? 0),
      paused: this.#standing(),
      error: this.#error,
    };
  }

  copied(): CopiedDisk[] {
    if (this.#progress !== 'done') throw new RehostError('TRANSFER_FAILED', `The copy is ${this.#progress}, not done.`);
    return this.#disks.map(({ disk, target, board }) => {
      if (!board) throw new RehostError('INTERNAL', `Disk '${disk}' has no plan.`);
      return { disk, target, plan: board.plan };
    });
  }

  tune({ bytesPerSecond, paused }: { bytesPerSecond?: number | null; paused?: boolean }): void {
    if (bytesPerSecond !== undefined) this.#pace.limit(bytesPerSecond);
    if (paused !== undefined) this.#pace.pause(paused);
  }

  stop(): Promise<void> {
    if (this.#progress === 'running') this.#fail(toWire(new RehostError('JOB_CANCELLED', 'The copy was stopped.')));
    return this.finished;
  }

  #sum(of: (disk: DiskState) => number): number {
    return this.#disks.reduce((total, disk) => total + of(disk), 0);
  }

  #standing(): CopyStatus['paused'] {
    if (this.#progress !== 'running') return null;
    if (this.#pace.full) {
      return { code: 'POOL_FULL', message: 'The storage pool is full; the copy goes on by itself when there is room.' };
    }
    return this.#pace.paused ? { code: 'PAUSED', message: 'The copy is paused.' } : null;
  }

  #arrived(report: DoorReport): void {
    if (report.kind === 'refused') {
      this.#lastFailure = report.reason;
      return;
    }
    this.#met = true;
    const connector = this.#connectors.find((one) => !one.busy && !one.disk);
    const disk = this.#nextDisk();
    if (this.#progress !== 'running' || !connector || !disk) {
      this.#turnAway(report.fd, report.ssl);
      return;
    }
    connector.disk = disk;
    this.#tell(connector, { kind: 'attach', fd: report.fd, ssl: report.ssl, disk: this.#disks.indexOf(disk) });
  }

  /** The disk that still has work, with the fewest connections. */
  #nextDisk(): DiskState | undefined {
    const serving = (disk: DiskState): number => this.#connectors.filter((one) => one.disk === disk).length;
    const waiting = this.#disks.filter(({ board, sample }) => !board?.complete || sample.length > 0);
    return waiting.reduce<DiskState | undefined>(
      (best, disk) => (!best || serving(disk) < serving(best) ? disk : best),
      undefined,
    );
  }

  #turnAway(fd: number, ssl: number): void {
    if (ssl === 0) closeSocket(fd);
    else new TlsStream(fd, ssl, new Patience(0, () => {})).close();
    this.#flags.connectionClosed();
  }

  #tell(connector: Connector, command: PullCommand): void {
    connector.busy = true;
    connector.failuresAt = connector.disk?.writeFailures ?? 0;
    connector.thread.post(command);
  }

  #heard(connector: Connector, report: PullReport): void {
    connector.busy = false;
    const { disk } = connector;
    if (report.kind === 'fatal') {
      this.#fail(report.error);
      return;
    }
    if (this.#progress !== 'running') return;
    if (report.kind === 'mapped' && disk) this.#mapped(connector, disk, report);
    if (report.kind === 'sampled' && disk) this.#sampled(disk, report.hashes);
    if (report.kind === 'detached') connector.disk = undefined;
    if (report.kind === 'lost') this.#lost(connector, report.error);
    if (report.kind === 'write-failed' && disk) {
      connector.disk = undefined;
      this.#writeFailed(disk, report.error, connector.failuresAt);
    }
    // Whatever happened may give work to others of the same disk that had none, or end it.
    if (disk) this.#stir(disk);
  }

  #stir(disk: DiskState): void {
    for (const one of this.#connectors) if (!one.busy && one.disk === disk) this.#next(one, disk);
    if (disk.board?.complete) this.#settle(disk);
  }

  #next(connector: Connector, disk: DiskState): void {
    const { board } = disk;
    if (!board || disk.sample.length > 0) {
      if (disk.mapper) return;
      disk.mapper = connector;
      const numbers = disk.sample.map((index) => board?.plan.numbers[index] ?? 0);
      this.#tell(connector, board ? { kind: 'sample', blocks: numbers } : { kind: 'map' });
    } else if (board.open) this.#tell(connector, { kind: 'pull', board: board.shared });
    else if (board.complete) this.#tell(connector, { kind: 'detach' });
    // Else others have the last blocks; they report when they are done or give them back.
  }

  #mapped(connector: Connector, disk: DiskState, { ranges, hashes }: { ranges: Float64Array; hashes: boolean }): void {
    const plan = makePlan(disk.sizeBytes, ranges, disk.roomBytes, disk.record?.list);
    disk.board = Board.create(plan);
    disk.resumedBytes = disk.board.copiedBytes;
    const bad = disk.record?.bad ?? [];
    for (let i = 0; i + 1 < bad.length; i += 2) disk.board.noteBad(bad[i] ?? 0, bad[i + 1] ?? 0);
    if (hashes) disk.sample = chooseSample(plan, bad);
    if (connector === disk.mapper) disk.mapper = undefined;
    // Blocks that are on the target already lie outside of the holes in any event.
    this.#tend(disk, 'zero-holes');
  }

  #tend(disk: DiskState, kind: 'flush' | 'zero-holes'): void {
    if (!disk.board) return;
    disk.failuresAt[kind] = disk.writeFailures;
    disk.tender.post({ kind, board: disk.board.shared });
  }

  /** The source must still have what the journal says that it had. */
  #sampled(disk: DiskState, hashes: Uint8Array): void {
    disk.mapper = undefined;
    const { plan } = disk.board ?? {};
    const changed = disk.sample.find((block, index) => {
      const now = hashes.subarray(index * 16, (index + 1) * 16);
      if (plan === undefined || now.every((byte) => byte === 0)) return false;
      return Buffer.compare(now, hashOf(plan, block)) !== 0;
    });
    disk.sample = [];
    if (changed === undefined) return;
    const what = `Disk '${disk.disk}' has changed since this copy was begun (block ${changed} is not what it was).`;
    this.#fail(toWire(new RehostError('SOURCE_CHANGED', what)));
  }

  #lost(connector: Connector, error: WireError): void {
    if (connector.disk?.mapper === connector) connector.disk.mapper = undefined;
    connector.disk = undefined;
    this.#reconnects++;
    this.#fruitless++;
    this.#lastFailure = error.message;
    if (error.code === 'PROTOCOL_VIOLATION') this.#violations++;
    if (this.#violations >= VIOLATIONS_MAX || this.#fruitless >= FRUITLESS_MAX) this.#fail(error);
  }

  /**
   * What was written since the last good flush is copied again, once; a disk that fails again is not to be trusted with more. What was
   * begun before the failure that is known already (`failuresAt`) is part of it: storage that is gone for a moment fails for all threads.
   */
  #writeFailed(disk: DiskState, error: WireError, failuresAt: number): void {
    this.#lastFailure = error.message;
    if (failuresAt < disk.writeFailures) return;
    disk.writeFailures++;
    if (disk.writeFailures > WRITE_FAILURES_MAX) {
      this.#fail(error);
    }
  }

  /** All blocks are written: when the holes are zeroed as well, and the source is the one it was, one last flush makes the disk done. */
  #settle(disk: DiskState): void {
    if (disk.zeroed && disk.sample.length === 0 && !disk.flushed) this.#flush(disk);
  }

  #flush(disk: DiskState): void {
    if (!disk.board || disk.flushing) return;
    disk.flushing = true;
    this.#tend(disk, 'flush');
  }

  #tended(index: number, report: TargetReport): void {
    const disk = this.#disks[index];
    if (report.kind === 'fatal') {
      this.#fail(report.error);
      return;
    }
    if (!disk || this.#progress !== 'running') return;
    if (report.kind === 'zeroed') disk.zeroed = true;
    else if (report.kind === 'flushed') {
      disk.flushing = false;
      disk.flushedAt = performance.now();
      // Blocks may have been written since it began.
      disk.flushed = disk.zeroed && this.#allFlushed(disk);
    } else {
      if (report.command === 'flush') disk.flushing = false;
      this.#writeFailed(disk, report.error, disk.failuresAt[report.command]);
      if (report.command === 'zero-holes') this.#tend(disk, 'zero-holes');
    }
    if (this.#disks.every(({ flushed }) => flushed)) this.#end('done');
    else this.#stir(disk);
  }

  #allFlushed({ board, sample }: DiskState): boolean {
    return board?.complete === true && sample.length === 0 && board.flushedBytes === board.plan.usedBytes;
  }

  #phase(): Phase {
    if (this.#standing()) return 'standing';
    if (!this.#met) return 'meeting';
    if (this.#disks.every(({ board }) => board?.complete)) return 'storing';
    return this.#disks.some(({ mapper }) => mapper) ? 'mapping' : 'copying';
  }

  /** Changes with progress. Before all is copied that is content and maps only: bytes on the wire come from renewals as well. */
  #seen(phase: Phase): number {
    const seen = this.#flags.contentBytes + this.#sum(({ board }) => (board ? 1 + board.copiedBytes : 0));
    if (phase !== 'storing') return seen;
    return seen + this.#sum((disk) => Number(disk.zeroed) + Number(disk.flushed) + (disk.board?.holeBytes ?? 0));
  }

  /** Once a second, or more often: is there something to flush, and was there progress since the last look? */
  #look(): void {
    for (const disk of this.#disks) {
      const { board } = disk;
      const unflushed = board !== undefined && board.copiedBytes > board.flushedBytes;
      if (unflushed && performance.now() - disk.flushedAt >= this.#flushEveryMs) this.#flush(disk);
    }
    const copied = this.#sum(({ board }) => board?.copiedBytes ?? 0);
    // Whoever brings blocks may break the protocol in between.
    if (copied !== this.#copied) this.#violations = this.#fruitless = 0;
    this.#copied = copied;
    const phase = this.#phase();
    const failure = this.#watch.look(phase, this.#seen(phase), this.#lastFailure);
    if (failure) this.#fail(toWire(failure));
  }

  #fail(error: WireError): void {
    if (this.#progress !== 'running') return;
    this.#error = toWire(fromWire(error));
    this.#end('failed');
  }

  #end(progress: 'done' | 'failed'): void {
    this.#progress = progress;
    clearInterval(this.#timer);
    void this.#shutDown().then(() => this.#finish());
  }

  async #shutDown(): Promise<void> {
    // Connections that say goodbye need not see the order to stop; those of a failed copy do.
    if (this.#progress === 'done') await this.#detached();
    this.#flags.stop();
    await this.#door.ended();
    if (this.#meeting.kind === 'listen') closeSocket(this.#meeting.fd);
    const threads = [...this.#connectors.map(({ thread }) => thread), ...this.#disks.map(({ tender }) => tender)];
    for (const thread of threads) thread.post({ kind: 'end' });
    await Promise.all(threads.map((thread) => thread.ended()));
  }

  /** Resolves when no command runs any longer: the last ones are goodbyes, which are short. */
  async #detached(): Promise<void> {
    for (let i = 0; i < 100 && this.#connectors.some(({ busy }) => busy); i++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
