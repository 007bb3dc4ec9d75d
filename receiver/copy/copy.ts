/**
 * One copy: threads that bring connections, pull pieces and tend the targets, and this session, which tells them what to do.
 * Order of things for each disk: map, plan, pieces and zeros of the holes side by side, flush, done.
 */
import type { RECEIVER_METHODS, ResultOf } from '../../appliance/api/control.ts';
import { fromWire, RehostError, toWire, type WireError } from '../../appliance/api/errors.ts';
import { dataPsk } from '../../appliance/api/psk.ts';
import { CONNECTIONS_MAX, TOKEN_BYTES } from '../../appliance/api/transfer.ts';
import { closeSocket, listen } from '../../native/socket.ts';
import { Patience } from '../../native/stream.ts';
import { type PskCredentials, TlsStream } from '../../native/tls.ts';
import { openTarget } from '../target/open.ts';
import type { TargetSpec } from '../target/target.ts';
import { Board } from './board.ts';
import { ProgressClock } from './clock.ts';
import { ALIGN_BYTES, makePlan, type Plan } from './plan.ts';
import {
  type DiskWork,
  type DoorReport,
  MAP_DEADLINE_MS,
  type Meeting,
  type PullCommand,
  type PullReport,
  SessionFlags,
  type TargetCommand,
  type TargetReport,
} from './shared.ts';
import { Thread } from './thread.ts';

/**
 * How long a copy waits without progress before it fails, ms. `meeting`: until the first connection that has the key.
 * `mapping`: while a connection waits for a disk's map, which on large rotating disks takes minutes and longer; a dead
 * connection is noticed by itself. `copying`: without any piece, over all connections and their renewals.
 * `storing`: while nothing is left but the storage's own work, zeros of the holes and flushes.
 */
const BOUNDS = { meeting: 15 * 60_000, mapping: MAP_DEADLINE_MS, copying: 120_000, storing: 10 * 60_000 } as const;
type Phase = keyof typeof BOUNDS;
const WATCH_MS = 1_000;
/** Connections in a row that break the protocol without anything copied in between. */
const VIOLATIONS_MAX = 5;

export interface CopyTargetDisk {
  /** Export name: the source disk's name. */
  disk: string;
  sizeBytes: number;
  /** At least as large as the disk; what lies behind the disk's end is made zero. */
  target: TargetSpec;
}

interface CopyBasics {
  disks: readonly CopyTargetDisk[];
  connections: number;
  /** Other bounds than BOUNDS, ms. */
  bounds?: Partial<Record<Phase, number>>;
}

export interface CopyOptions extends CopyBasics {
  jobId: string;
  /** TOKEN_BYTES bytes. */
  token: Buffer;
  /** An IP address of this machine, or `::` for all; port 0 for any. */
  listen: { host: string; port: number };
}

export interface PullOptions extends CopyBasics {
  /** A standard NBD server. */
  server: { host: string; port: number };
  /** 'none' is for servers on this machine only. */
  security: PskCredentials | 'none';
}

export type CopyStatus = ResultOf<typeof RECEIVER_METHODS, 'copy.status'>;

/** A disk that was copied, as the verification needs it. */
export interface CopiedDisk {
  disk: string;
  target: TargetSpec;
  plan: Plan;
}

export interface CopySession {
  /** Where it listens; 0 when it dials. */
  readonly port: number;
  status(): CopyStatus;
  /** Resolves when the copy is done or failed (see `status`) and its threads are gone. Never rejects. */
  readonly finished: Promise<void>;
  /** The disks of a copy that is done. TRANSFER_FAILED when it is not. */
  copied(): CopiedDisk[];
  /** Ends it, whatever it does; all targets are closed when it resolves, but for one whose storage hangs. Idempotent. */
  stop(): Promise<void>;
}

/** Listens for the agent and copies its exports. REQUEST_INVALID and TARGET_WRITE_FAILED before anything is touched. */
export function startCopy(options: CopyOptions): CopySession {
  const rooms = checkBasics(options);
  if (options.token.length !== TOKEN_BYTES) {
    throw new RehostError('TOKEN_INVALID', `The token has ${options.token.length} bytes, not ${TOKEN_BYTES}.`);
  }
  const psk = dataPsk(
    options.token,
    options.jobId,
    options.disks.map(({ disk }) => disk),
  );
  const bound = listen(options.listen.host, options.listen.port);
  return new Copy(options, rooms, { kind: 'listen', fd: bound.fd }, psk, bound.port);
}

/** Copies exports of a standard server, which this side dials. */
export function startPull(options: PullOptions): CopySession {
  const rooms = checkBasics(options);
  const meeting: Meeting = { kind: 'dial', ...options.server, connections: options.connections };
  return new Copy(options, rooms, meeting, options.security, 0);
}

/** Sizes of the replicas, bytes. */
function checkBasics({ disks, connections }: CopyBasics): number[] {
  if (!Number.isInteger(connections) || connections < 1 || connections > CONNECTIONS_MAX) {
    throw new RehostError('REQUEST_INVALID', `connections is ${connections}; 1 to ${CONNECTIONS_MAX} are allowed.`);
  }
  if (disks.length === 0) throw new RehostError('REQUEST_INVALID', 'There are no disks to copy.');
  if (new Set(disks.map(({ disk }) => disk)).size !== disks.length) {
    throw new RehostError('REQUEST_INVALID', 'A disk is named twice.');
  }
  return disks.map(({ disk, sizeBytes, target }) => {
    const opened = openTarget(target);
    const { sizeBytes: room, sectorBytes } = opened;
    opened.close();
    if (room < sizeBytes) {
      throw new RehostError(
        'TARGET_WRITE_FAILED',
        `The replica of '${disk}' has ${room} bytes; the disk has ${sizeBytes}.`,
      );
    }
    if (sizeBytes % sectorBytes !== 0 || ALIGN_BYTES % sectorBytes !== 0) {
      throw new RehostError('TARGET_WRITE_FAILED', `The replica of '${disk}' has sectors of ${sectorBytes} bytes.`);
    }
    return room;
  });
}

interface DiskState extends DiskWork {
  /** Size of the replica. */
  roomBytes: number;
  board: Board | undefined;
  mapper: Connector | undefined;
  zeroed: boolean;
  flushing: boolean;
  flushed: boolean;
}

/** A pull thread and what it has. */
interface Connector {
  thread: Thread<PullCommand>;
  disk: DiskState | undefined;
  /** A command runs. */
  busy: boolean;
}

class Copy implements CopySession {
  readonly port: number;
  readonly finished: Promise<void>;
  readonly #flags = new SessionFlags();
  readonly #disks: DiskState[];
  readonly #connectors: Connector[];
  readonly #door: Thread<never>;
  readonly #tender: Thread<TargetCommand>;
  readonly #meeting: Meeting;
  readonly #watch: NodeJS.Timeout;
  readonly #bounds: Record<Phase, number>;
  readonly #clock: ProgressClock<Phase>;
  #met = false;
  #progress: CopyStatus['progress'] = 'running';
  #error: WireError | null = null;
  #reconnects = 0;
  #violations = 0;
  /** What `#seen` was at the last look. */
  #copied = 0;
  #lastFailure = '';
  #finish: () => void = () => {};

  constructor(
    options: CopyBasics,
    rooms: readonly number[],
    meeting: Meeting,
    security: PskCredentials | 'none',
    port: number,
  ) {
    this.port = port;
    this.#meeting = meeting;
    this.#bounds = { ...BOUNDS, ...options.bounds };
    this.#clock = new ProgressClock(this.#bounds, performance.now());
    this.finished = new Promise((resolve) => {
      this.#finish = resolve;
    });
    const disks = options.disks.map(({ disk, target, sizeBytes }) => ({ disk, target, sizeBytes }));
    this.#disks = disks.map((disk, index) => ({
      ...disk,
      roomBytes: rooms[index] ?? disk.sizeBytes,
      board: undefined,
      mapper: undefined,
      zeroed: false,
      flushing: false,
      flushed: false,
    }));
    const died = (error: Error): void => this.#fail(toWire(error));
    const flags = this.#flags.shared;
    this.#tender = new Thread(
      'target',
      { worker: 0, disks, flags },
      (report) => this.#tended(report as TargetReport),
      died,
    );
    this.#connectors = Array.from({ length: options.connections }, (_, index) => {
      const connector: Connector = {
        thread: new Thread(
          'pull',
          { worker: index + 1, disks, flags },
          (report) => this.#heard(connector, report as PullReport),
          died,
        ),
        disk: undefined,
        busy: false,
      };
      return connector;
    });
    this.#door = new Thread(
      'door',
      { meeting, security, flags },
      (report) => this.#arrived(report as DoorReport),
      died,
    );
    this.#watch = setInterval(() => this.#look(), WATCH_MS);
  }

  status(): CopyStatus {
    return {
      progress: this.#progress,
      disks: this.#disks.map(({ disk, sizeBytes, board }) => ({
        disk,
        sizeBytes,
        usedBytes: board?.plan.usedBytes ?? null,
        copiedBytes: board?.copiedBytes ?? 0,
        zeroBytes: board?.zeroBytes ?? 0,
        flushedBytes: board?.flushedBytes ?? 0,
      })),
      wireBytes: this.#flags.wireBytes,
      reconnects: this.#reconnects,
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

  stop(): Promise<void> {
    if (this.#progress === 'running') this.#fail(toWire(new RehostError('JOB_CANCELLED', 'The copy was stopped.')));
    return this.finished;
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
    const waiting = this.#disks.filter(({ board }) => !board?.complete);
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
    if (report.kind === 'mapped' && disk) this.#mapped(disk, report.ranges);
    if (report.kind === 'detached') connector.disk = undefined;
    if (report.kind === 'lost') this.#lost(connector, report.error);
    // Whatever happened may give work to others of the same disk that had none, or end it.
    for (const one of this.#connectors) if (!one.busy && one.disk && one.disk === disk) this.#next(one, one.disk);
    if (disk?.board?.complete) this.#settle(disk);
  }

  #next(connector: Connector, disk: DiskState): void {
    const { board } = disk;
    if (!board) {
      if (disk.mapper) return;
      disk.mapper = connector;
      this.#tell(connector, { kind: 'map' });
    } else if (board.open) this.#tell(connector, { kind: 'pull', board: board.shared });
    else if (board.complete) this.#tell(connector, { kind: 'detach' });
    // Else others have the last pieces; they report when they are done or give them back.
  }

  #mapped(disk: DiskState, ranges: Float64Array): void {
    disk.board = Board.create(makePlan(disk.sizeBytes, ranges, disk.roomBytes));
    disk.mapper = undefined;
    this.#tender.post({ kind: 'zero-holes', disk: this.#disks.indexOf(disk), board: disk.board.shared });
  }

  #lost(connector: Connector, error: WireError): void {
    if (connector.disk?.mapper === connector) connector.disk.mapper = undefined;
    connector.disk = undefined;
    this.#reconnects++;
    this.#lastFailure = error.message;
    if (error.code !== 'PROTOCOL_VIOLATION') return;
    this.#violations++;
    if (this.#violations >= VIOLATIONS_MAX) this.#fail(error);
  }

  /** All pieces are written: when the holes are zeroed as well, one last flush makes the disk done. */
  #settle(disk: DiskState): void {
    if (!disk.board || !disk.zeroed || disk.flushing) return;
    disk.flushing = true;
    this.#tender.post({ kind: 'flush', disk: this.#disks.indexOf(disk), board: disk.board.shared });
  }

  #tended(report: TargetReport): void {
    if (report.kind === 'fatal') {
      this.#fail(report.error);
      return;
    }
    const disk = this.#disks[report.disk];
    if (!disk || this.#progress !== 'running') return;
    if (!disk.zeroed) {
      disk.zeroed = true;
      if (disk.board?.complete) this.#settle(disk);
      return;
    }
    disk.flushed = true;
    if (this.#disks.every(({ flushed }) => flushed)) this.#end('done');
  }

  #phase(): Phase {
    if (!this.#met) return 'meeting';
    if (this.#disks.every(({ board }) => board?.complete)) return 'storing';
    return this.#disks.some(({ mapper }) => mapper) ? 'mapping' : 'copying';
  }

  /** Changes with progress. Before all is copied that is pieces and maps only: bytes on the wire come from renewals as well. */
  #seen(phase: Phase): number {
    const sum = (of: (disk: DiskState) => number): number => this.#disks.reduce((total, disk) => total + of(disk), 0);
    const seen = sum(({ board }) => (board ? 1 + board.copiedBytes : 0));
    if (phase !== 'storing') return seen;
    return seen + sum((disk) => Number(disk.zeroed) + Number(disk.flushed) + (disk.board?.holeBytes ?? 0));
  }

  /** Once a second: was there progress since the last look? */
  #look(): void {
    const phase = this.#phase();
    const seen = this.#seen(phase);
    // Whoever brings pieces may break the protocol in between.
    if (seen !== this.#copied) this.#violations = 0;
    this.#copied = seen;
    if (!this.#clock.look(phase, seen, performance.now())) return;
    const seconds = `${Math.round(this.#bounds[phase] / 1000)} s`;
    if (phase === 'storing') {
      const what = "All is copied, but the replicas' storage neither zeroed nor flushed anything";
      this.#fail(toWire(new RehostError('TARGET_WRITE_FAILED', `${what} for ${seconds}.`)));
      return;
    }
    const none = this.#met ? 'The connection stood; source or target hang.' : 'Nobody connected.';
    const why = this.#lastFailure === '' ? none : `Last: ${this.#lastFailure}`;
    const what = phase === 'mapping' ? 'No allocation map came' : 'Nothing was copied';
    this.#fail(toWire(new RehostError('TRANSFER_FAILED', `${what} for ${seconds}. ${why}`)));
  }

  #fail(error: WireError): void {
    if (this.#progress !== 'running') return;
    this.#error = toWire(fromWire(error));
    this.#end('failed');
  }

  #end(progress: 'done' | 'failed'): void {
    this.#progress = progress;
    clearInterval(this.#watch);
    void this.#shutDown().then(() => this.#finish());
  }

  async #shutDown(): Promise<void> {
    // Connections that say goodbye need not see the order to stop; those of a failed copy do.
    if (this.#progress === 'done') await this.#detached();
    this.#flags.stop();
    await this.#door.ended();
    if (this.#meeting.kind === 'listen') closeSocket(this.#meeting.fd);
    for (const { thread } of this.#connectors) thread.post({ kind: 'end' });
    this.#tender.post({ kind: 'end' });
    await Promise.all([this.#tender.ended(), ...this.#connectors.map(({ thread }) => thread.ended())]);
  }

  /** Resolves when no command runs any longer: the last ones are goodbyes, which are short. */
  async #detached(): Promise<void> {
    for (let i = 0; i < 100 && this.#connectors.some(({ busy }) => busy); i++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
