/** An export session: the snapshot's disks, served over connections that the agent dials (or, for standard clients, accepts). */
import type { Worker } from 'node:worker_threads';
import type { AGENT_METHODS, Allocation, ReadManners, ResultOf } from '../../appliance/api/control.ts';
import { fromWire, RehostError, toWire, type WireError } from '../../appliance/api/errors.ts';
import { dataPsk } from '../../appliance/api/psk.ts';
import { Threads } from '../../appliance/api/threads.ts';
import { CONNECTIONS_MAX, TOKEN_BYTES } from '../../appliance/api/transfer.ts';
import { closeSocket, listen } from '../../native/socket.ts';
import { Manners } from './manners.ts';
import {
  type AllocationReport,
  type AllocationWork,
  type ConnectionReport,
  type ConnectionWork,
  Counters,
  type ExportDisk,
  type MapMessage,
  type Meeting,
  StopFlag,
} from './shared.ts';

/** After the order to stop a thread has this long before it is terminated, ms. */
const STOP_DEADLINE_MS = 10_000;
/** A thread that died is started again after this, ms. */
const RESTART_MS = 500;

export interface ExportBasics {
  jobId: string;
  /** TOKEN_BYTES bytes. The session derives its key and keeps no token. */
  token: Buffer;
  connections: number;
  disks: readonly ExportDisk[];
  /** What of the disks is read; 'used' when it is not said. */
  allocation?: Allocation;
  /** How the disks are read at first; `tune` changes it. */
  manners?: ReadManners;
}

export interface ExportOptions extends ExportBasics {
  /** An IP address, IPv6 without brackets. */
  address: string;
  port: number;
}

export type ExportStatus = ResultOf<typeof AGENT_METHODS, 'export.status'>;

/** What was found on the disks, for the agent's log. */
export interface AreaFound {
  disk: string;
  start: number;
  end: number;
  found: string;
}

/** A running export. It ends by `stop` only; failures show in `status` and are tried again. */
export interface ExportSession {
  status(): ExportStatus;
  /** Changes how the disks are read, from the next read on. */
  tune(manners: ReadManners): void;
  /** Ends all connections and threads. Idempotent; resolves when nothing of the session is left. */
  stop(): Promise<void>;
  /** Resolves when the allocation maps are read, with what was found. Rejects when a disk cannot be served. */
  readonly mapped: Promise<AreaFound[]>;
}

/**
 * Dials the receiver and serves until `stop`, dialling again with growing pauses when a connection breaks. It dials at once;
 * a connection's first request is answered when the map of its disk is read.
 */
export function startExport(order: ExportOptions): ExportSession {
  return new Session(order, { kind: 'dial', address: order.address, port: order.port });
}

/** Serves whoever connects to an address of this machine and has the key: standard NBD clients. Port 0 takes any. */
export function listenExport(order: ExportBasics, host: string, port: number): ExportSession & { port: number } {
  checkOrder(order);
  const bound = listen(host, port);
  const session = new Session(order, { kind: 'accept', listenFd: bound.fd });
  return {
    port: bound.port,
    mapped: session.mapped,
    tune: (manners) => session.tune(manners),
    status: () => session.status(),
    stop: () => session.stop().finally(() => closeSocketOnce(bound)),
  };
}

function closeSocketOnce(bound: { fd: number }): void {
  if (bound.fd >= 0) closeSocket(bound.fd);
  bound.fd = -1;
}

/** REQUEST_INVALID names the field. */
function checkOrder(order: ExportBasics): void {
  const wrong = (field: string): RehostError => new RehostError('REQUEST_INVALID', `Export: ${field}.`);
  if (order.token.length !== TOKEN_BYTES) throw wrong(`token has ${order.token.length} bytes, not ${TOKEN_BYTES}`);
  if (!Number.isInteger(order.connections) || order.connections < 1 || order.connections > CONNECTIONS_MAX) {
    throw wrong(`connections is ${order.connections}; 1 to ${CONNECTIONS_MAX} are allowed`);
  }
  if (order.disks.length === 0) throw wrong('there are no disks');
  if (new Set(order.disks.map(({ disk }) => disk)).size !== order.disks.length) throw wrong('a disk is named twice');
}

const threads = new Threads(import.meta.filename);

/** Loads the threads of an export before it is ordered; resolves when they are. */
export async function prepareThreads(connections: number): Promise<void> {
  await Promise.all([threads.prepare('connection', connections), threads.prepare('allocation', 1)]);
}

class Session implements ExportSession {
  readonly mapped: Promise<AreaFound[]>;
  readonly #order: ExportBasics;
  readonly #meeting: Meeting;
  readonly #counters: Counters;
  readonly #stop = new StopFlag();
  readonly #manners = new Manners();
  readonly #workers = new Set<Worker>();
  readonly #restarts = new Set<NodeJS.Timeout>();
  readonly #servers = new Set<Worker>();
  readonly #maps: MapMessage[] = [];
  #mapper: Worker | undefined;
  /** A disk that cannot be served: what the connections say then is only its consequence. */
  #mapError: WireError | undefined;
  #connections = 0;
  #goodbye = false;
  #error: WireError | null = null;
  #stopped: Promise<void> | undefined;

  constructor(order: ExportBasics, meeting: Meeting) {
    checkOrder(order);
    this.#order = { ...order, token: Buffer.alloc(0) };
    this.#meeting = meeting;
    this.#counters = new Counters(order.disks.length);
    this.#manners.set(order.manners ?? {});
    const psk = dataPsk(
      order.token,
      order.jobId,
      order.disks.map(({ disk }) => disk),
    );
    this.mapped = this.#map();
    // The failure shows in `status`; whoever waits for `mapped` gets it as well.
    this.mapped.catch((error: unknown) => {
      if (this.#stop.isSet) return;
      this.#mapError = toWire(error);
      this.#stop.set();
    });
    for (let i = 0; i < order.connections; i++) this.#connect(psk);
  }

  status(): ExportStatus {
    return {
      running: this.#stopped === undefined,
      connections: this.#connections,
      wireBytes: this.#counters.wire,
      exports: this.#order.disks.map(({ disk, sizeBytes }, index) => ({
        disk,
        sizeBytes,
        readBytes: this.#counters.read(index),
      })),
      error: this.#mapError ?? this.#error,
    };
  }

  tune(manners: ReadManners): void {
    this.#manners.set(manners);
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#end();
    return this.#stopped;
  }

  async #end(): Promise<void> {
    this.#stop.set();
    for (const timer of this.#restarts) clearTimeout(timer);
    // It looks at no flag and owns nothing but open files.
    await this.#mapper?.terminate();
    await Promise.all([...this.#workers].map((worker) => ended(worker)));
  }

  #map(): Promise<AreaFound[]> {
    const work: AllocationWork = { disks: this.#order.disks, allocation: this.#order.allocation ?? 'used' };
    const worker = threads.start('allocation', work);
    this.#workers.add(worker);
    this.#mapper = worker;
    const found: AreaFound[] = [];
    return new Promise((resolve, reject) => {
      worker.on('message', (message: AllocationReport) => {
        if (message.kind === 'failed') reject(fromWire(message.error));
        else if (message.kind === 'done') resolve(found);
        else {
          found.push(...message.areas);
          const map = { disk: message.disk, map: message.map };
          this.#maps.push(map);
          for (const server of this.#servers) server.postMessage(map);
        }
      });
      worker.once('error', reject);
      worker.once('exit', () => {
        this.#workers.delete(worker);
        this.#mapper = undefined;
        reject(new RehostError('INTERNAL', 'The allocation maps were not finished.'));
      });
    });
  }

  #connect(psk: { identity: string; key: Buffer }): void {
    const work: ConnectionWork = {
      meeting: this.#meeting,
      identity: psk.identity,
      key: psk.key,
      disks: this.#order.disks,
      maps: this.#maps,
      counters: this.#counters.shared,
      stop: this.#stop.shared,
      manners: this.#manners.shared,
    };
    const worker = threads.start('connection', work);
    this.#workers.add(worker);
    this.#servers.add(worker);
    let up = false;
    worker.on('message', (message: ConnectionReport) => {
      if (message.kind === 'up') {
        up = true;
        this.#connections++;
        this.#goodbye = false;
        this.#error = null;
        return;
      }
      const wasUp = up;
      if (up) this.#connections--;
      up = false;
      if (message.error === null) this.#goodbye = true;
      // After a goodbye the receiver has what it wanted: that it does not answer or hangs up at once is no failure then.
      else if (wasUp || !this.#goodbye) this.#error = message.error;
    });
    worker.once('error', (error) => {
      this.#error = toWire(error);
    });
    worker.once('exit', () => {
      this.#workers.delete(worker);
      this.#servers.delete(worker);
      if (up) this.#connections--;
      if (this.#stop.isSet) return;
      const timer = setTimeout(() => {
        this.#restarts.delete(timer);
        this.#connect(psk);
      }, RESTART_MS);
      this.#restarts.add(timer);
    });
  }
}

/** Resolves when the thread is gone; it is terminated when it does not go by itself. */
function ended(worker: Worker): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => void worker.terminate(), STOP_DEADLINE_MS);
    worker.once('exit', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
