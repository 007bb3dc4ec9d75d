/**
 * One copy at work: threads that bring connections, pull blocks and tend the targets, and this session, which tells them what to do.
 * Order of things for each disk: map, plan with what the journal has, a sample of that, blocks and zeros of the holes side by side with
 * flushes, the last flush, done.
 */
import { fromWire, RehostError, toWire, type WireError } from '../../appliance/api/errors.ts';
import { closeSocket } from '../../native/socket.ts';
import { Patience } from '../../native/stream.ts';
import { type PskCredentials, TlsStream } from '../../native/tls.ts';
import type { CopiedDisk, CopyBasics, CopySession, CopyStatus } from './copy.ts';
import { DiskCopy, type DiskEvents, type DiskRecord } from './disk-copy.ts';
import { Pace } from './pace.ts';
import {
  type DoorReport,
  FLUSH_EVERY_MS,
  type JournalWork,
  type Meeting,
  type PullCommand,
  type PullReport,
  type PullWork,
  SessionFlags,
} from './shared.ts';
import { Thread } from './thread.ts';
import { type Phase, Watch } from './watch.ts';

const WATCH_MS = 1_000;
/** Hashes that the source is asked for at once, so that a connection that breaks costs no more than these. */
const ASK_BLOCKS = 256;
/** Connections in a row that break the protocol without anything copied in between. */
const VIOLATIONS_MAX = 5;
/** Connections in a row that end without one whole block. */
const FRUITLESS_MAX = 100;
export interface SessionOptions extends CopyBasics {
  /** Sizes of the replicas, bytes. */
  rooms: readonly number[];
  journal: JournalWork | undefined;
  /** One for each disk, or none. */
  records: readonly DiskRecord[];
}

/** A pull thread and what it has. */
interface Connector {
  thread: Thread<PullCommand>;
  disk: DiskCopy | undefined;
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
  readonly #disks: DiskCopy[];
  /** Which connection reads a disk's map, or asks about its sample. */
  readonly #mappers = new Map<DiskCopy, Connector>();
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
    const disks = options.disks.map(({ disk, target, sizeBytes }) => ({ disk, target, sizeBytes }));
    this.#disks = disks.map((work, index) => {
      const tending = { disk: index, flags, pace, journal: options.journal, flushEveryMs };
      const events: DiskEvents = {
        failed: (error) => this.#fail(error),
        stumbled: (message) => {
          this.#lastFailure = message;
        },
        tended: () => this.#tended(disk),
      };
      const room = options.rooms[index] ?? work.sizeBytes;
      const disk = new DiskCopy(work, room, options.records[index], tending, events);
      return disk;
    });
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
      disks: this.#disks.map((disk) => disk.status()),
      wireBytes: this.#flags.wireBytes,
      reconnects: this.#reconnects,
      retries: this.#sum(({ board }) => board?.retries ?? 0),
      paused: this.#standing(),
      error: this.#error,
    };
  }

  copied(): CopiedDisk[] {
    if (this.#progress !== 'done') throw new RehostError('TRANSFER_FAILED', `The copy is ${this.#progress}, not done.`);
    return this.#disks.map(({ work: { disk, target }, board }) => {
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

  #sum(of: (disk: DiskCopy) => number): number {
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
  #nextDisk(): DiskCopy | undefined {
    const serving = (disk: DiskCopy): number => this.#connectors.filter((one) => one.disk === disk).length;
    const waiting = this.#disks.filter(({ wanting }) => wanting);
    return waiting.reduce<DiskCopy | undefined>(
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
    if (disk && this.#mappers.get(disk) === connector) this.#mappers.delete(disk);
    if (report.kind === 'mapped') disk?.mapped(report.ranges, report.hashes);
    if (report.kind === 'sampled') {
      const changed = disk?.sampled(report.hashes);
      if (changed) this.#fail(toWire(changed));
    }
    if (report.kind === 'detached') connector.disk = undefined;
    if (report.kind === 'lost') this.#lost(connector, report.error);
    if (report.kind === 'write-failed' && disk) {
      connector.disk = undefined;
      disk.writeFailed(report.error, connector.failuresAt);
    }
    // Whatever happened may give work to others of the same disk that had none, or end it.
    if (disk) this.#stir(disk);
  }

  #stir(disk: DiskCopy): void {
    for (const one of this.#connectors) if (!one.busy && one.disk === disk) this.#next(one, disk);
    disk.settle();
  }

  #next(connector: Connector, disk: DiskCopy): void {
    const { board, sample } = disk;
    if (!board || sample.length > 0) {
      if (this.#mappers.has(disk)) return;
      this.#mappers.set(disk, connector);
      const numbers = sample.slice(0, ASK_BLOCKS).map((index) => board?.plan.numbers[index] ?? 0);
      this.#tell(connector, board ? { kind: 'sample', blocks: numbers } : { kind: 'map' });
    } else if (board.open) this.#tell(connector, { kind: 'pull', board: board.shared });
    else if (board.complete) this.#tell(connector, { kind: 'detach' });
    // Else others have the last blocks; they report when they are done or give them back.
  }

  #tended(disk: DiskCopy): void {
    if (this.#progress !== 'running') return;
    if (this.#disks.every(({ done }) => done)) this.#end('done');
    else this.#stir(disk);
  }

  #lost(connector: Connector, error: WireError): void {
    connector.disk = undefined;
    this.#reconnects++;
    this.#fruitless++;
    this.#lastFailure = error.message;
    if (error.code === 'PROTOCOL_VIOLATION') this.#violations++;
    if (this.#violations >= VIOLATIONS_MAX || this.#fruitless >= FRUITLESS_MAX) this.#fail(error);
  }

  #phase(): Phase {
    if (this.#standing()) return 'standing';
    if (!this.#met) return 'meeting';
    if (this.#disks.every(({ board }) => board?.complete)) return 'storing';
    return this.#mappers.size > 0 ? 'mapping' : 'copying';
  }

  /** Changes with progress. Before all is copied that is content and maps only: bytes on the wire come from renewals as well. */
  #seen(phase: Phase): number {
    const seen = this.#flags.contentBytes + this.#sum(({ board }) => (board ? 1 + board.copiedBytes : 0));
    if (phase !== 'storing') return seen;
    return seen + this.#sum(({ tendedSteps }) => tendedSteps);
  }

  /** Once a second, or more often: is there something to flush, and was there progress since the last look? */
  #look(): void {
    for (const disk of this.#disks) disk.flushIfDue(this.#flushEveryMs);
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
    for (const { thread } of this.#connectors) thread.post({ kind: 'end' });
    await Promise.all([
      ...this.#connectors.map(({ thread }) => thread.ended()),
      ...this.#disks.map((disk) => disk.ended()),
    ]);
  }

  /** Resolves when no command runs any longer: the last ones are goodbyes, which are short. */
  async #detached(): Promise<void> {
    for (let i = 0; i < 100 && this.#connectors.some(({ busy }) => busy); i++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
