/** What the threads of one export session share: counters, the order to stop, and their messages. */
import type { Allocation } from '../../appliance/api/control.ts';
import type { WireError } from '../../appliance/api/errors.ts';
import type { MapLists } from './allocation/map.ts';

/** One disk as its exporter needs it. */
export interface ExportDisk {
  /** Export name: the disk's kernel name. */
  disk: string;
  path: string;
  sizeBytes: number;
}

/** Index of the counter of bytes on the wire; the disks' counters of bytes read follow, in the order of the disks. */
const WIRE_BYTES = 0;

/** Counters in shared memory. Any thread adds, any thread reads. */
export class Counters {
  readonly shared: SharedArrayBuffer;
  readonly #values: BigInt64Array;

  constructor(disks: number, shared: SharedArrayBuffer = new SharedArrayBuffer(8 * (disks + 1))) {
    this.shared = shared;
    this.#values = new BigInt64Array(shared);
  }

  addWire(bytes: number): void {
    Atomics.add(this.#values, WIRE_BYTES, BigInt(bytes));
  }

  addRead(disk: number, bytes: number): void {
    Atomics.add(this.#values, WIRE_BYTES + 1 + disk, BigInt(bytes));
  }

  get wire(): number {
    return Number(Atomics.load(this.#values, WIRE_BYTES));
  }

  read(disk: number): number {
    return Number(Atomics.load(this.#values, WIRE_BYTES + 1 + disk));
  }
}

/** The order to stop, which blocked threads look at between slices. */
export class StopFlag {
  readonly shared: SharedArrayBuffer;
  readonly #flag: Int32Array<SharedArrayBuffer>;

  constructor(shared: SharedArrayBuffer = new SharedArrayBuffer(4)) {
    this.shared = shared;
    this.#flag = new Int32Array(shared);
  }

  set(): void {
    Atomics.store(this.#flag, 0, 1);
    Atomics.notify(this.#flag, 0);
  }

  get isSet(): boolean {
    return Atomics.load(this.#flag, 0) !== 0;
  }

  /** Blocks this thread for `ms` or until the order comes. Not for the main thread. */
  sleep(ms: number): void {
    Atomics.wait(this.#flag, 0, 0, ms);
  }
}

/** How a connection worker comes to connections. */
export type Meeting =
  | { kind: 'dial'; address: string; port: number }
  /** Takes connections from this listening socket, which stays the session's. */
  | { kind: 'accept'; listenFd: number };

/** The work of connection-worker.ts. */
export interface ConnectionWork {
  meeting: Meeting;
  identity: string;
  key: Uint8Array;
  disks: readonly ExportDisk[];
  /** What is read already; the rest comes as MapMessage. */
  maps: readonly MapMessage[];
  counters: SharedArrayBuffer;
  stop: SharedArrayBuffer;
  manners: SharedArrayBuffer;
}

/** The allocation map of one disk, for the connection workers. */
export interface MapMessage {
  /** Index in the session's disks. */
  disk: number;
  map: MapLists;
}

/** What a connection worker reports. */
export type ConnectionReport =
  /** A peer proved itself and chose an export. */
  | { kind: 'up' }
  /** The connection ended. No error: the peer said goodbye. */
  | { kind: 'down'; error: WireError | null }
  /** No connection came about. */
  | { kind: 'failed'; error: WireError };

/** The work of allocation-worker.ts. */
export interface AllocationWork {
  allocation: Allocation;
  disks: readonly ExportDisk[];
}

/** What allocation-worker.ts reports: each disk's map as soon as it is read, in the order of the disks, and the end. */
export type AllocationReport =
  | { kind: 'map'; disk: number; map: MapLists; areas: { disk: string; start: number; end: number; found: string }[] }
  | { kind: 'done' }
  | { kind: 'failed'; error: WireError };
