/** What the threads of one copy share: flags, and the messages between them and the session. */
import type { OnReadError } from '../../appliance/api/control.ts';
import { RehostError, toWire, type WireError } from '../../appliance/api/errors.ts';
import { SysError } from '../../native/errors.ts';
import { StreamError } from '../../native/stream.ts';
import type { PskCredentials } from '../../native/tls.ts';
import type { TargetSpec } from '../target/target.ts';
import type { BoardShared } from './board.ts';
import type { JournalOrder } from './journal.ts';
import type { PaceShared } from './pace.ts';

/** Thrown out of blocking calls when the session stops. */
export class Stopped extends Error {
  override readonly name = 'Stopped';
}

/**
 * A disk's map takes as long as its bitmaps take to be read: an ext3 of 16 TiB has them in 131072 places, 20 minutes of
 * seeks. Until it is there the source is silent, and TCP alone tells whether it lives, ms.
 */
export const MAP_DEADLINE_MS = 60 * 60_000;

/** What is written is flushed and recorded this often: so much is copied again when everything dies at once, ms. */
export const FLUSH_EVERY_MS = 5_000;

const STOP = 0;
const OPEN_CONNECTIONS = 1;
const FLAGS = 2;
const WIRE = 0;
const CONTENT = 1;
const COUNTERS = 2;

/** Flags and counters of one session that blocked threads look at. */
export class SessionFlags {
  readonly shared: SharedArrayBuffer;
  readonly #flags: Int32Array<SharedArrayBuffer>;
  readonly #counters: BigInt64Array<SharedArrayBuffer>;

  constructor(shared: SharedArrayBuffer = new SharedArrayBuffer(8 * (1 + COUNTERS))) {
    this.shared = shared;
    this.#flags = new Int32Array(shared, 0, FLAGS);
    this.#counters = new BigInt64Array(shared, 8, COUNTERS);
  }

  stop(): void {
    Atomics.store(this.#flags, STOP, 1);
  }

  get stopped(): boolean {
    return Atomics.load(this.#flags, STOP) !== 0;
  }

  /** Throws Stopped after `stop`. */
  check(): void {
    if (this.stopped) throw new Stopped('The copy was stopped.');
  }

  connectionOpened(): void {
    Atomics.add(this.#flags, OPEN_CONNECTIONS, 1);
  }

  connectionClosed(): void {
    Atomics.sub(this.#flags, OPEN_CONNECTIONS, 1);
  }

  get openConnections(): number {
    return Atomics.load(this.#flags, OPEN_CONNECTIONS);
  }

  addWire(bytes: number): void {
    Atomics.add(this.#counters, WIRE, BigInt(bytes));
  }

  get wireBytes(): number {
    return Number(Atomics.load(this.#counters, WIRE));
  }

  /** Content that arrived, also of blocks that are not complete yet. */
  addContent(bytes: number): void {
    Atomics.add(this.#counters, CONTENT, BigInt(bytes));
  }

  get contentBytes(): number {
    return Number(Atomics.load(this.#counters, CONTENT));
  }
}

/** How connections come about. */
export type Meeting =
  /** The agent dials us. The listening socket stays the session's. */
  { kind: 'listen'; fd: number } | { kind: 'dial'; host: string; port: number; connections: number };

/** The work of door-worker.ts. */
export interface DoorWork {
  meeting: Meeting;
  security: PskCredentials | 'none';
  flags: SharedArrayBuffer;
}

export type DoorReport =
  /** Socket and SSL object are the session's from here on. */
  | { kind: 'connection'; fd: number; ssl: number }
  /** A peer that did not come to that. */
  | { kind: 'refused'; reason: string };

/** A disk as the threads know it. */
export interface DiskWork {
  /** Export name. */
  disk: string;
  target: TargetSpec;
  sizeBytes: number;
}

/** The work of pull-worker.ts. */
export interface PullWork {
  /** 1 to 8; marks the blocks that this thread has. */
  worker: number;
  disks: readonly DiskWork[];
  flags: SharedArrayBuffer;
  pace: PaceShared;
  onReadError: OnReadError;
}

/** The work of target-worker.ts: one for each disk. */
export interface TargetWork {
  /** Index among the session's disks. */
  disk: number;
  target: TargetSpec;
  flags: SharedArrayBuffer;
  pace: PaceShared;
  journal: JournalWork | undefined;
  flushEveryMs: number;
}

/** The journal as a thread opens it. */
export interface JournalWork {
  path: string;
  order: JournalOrder;
}

export type PullCommand =
  /** Negotiates this disk's export on the connection, which is the worker's from here on. */
  | { kind: 'attach'; fd: number; ssl: number; disk: number }
  /** Asks for the allocation map. */
  | { kind: 'map' }
  /** Asks for the hashes of the blocks of these numbers, as they are now. */
  | { kind: 'sample'; blocks: readonly number[] }
  /** Copies blocks until none is left to take. */
  | { kind: 'pull'; board: BoardShared }
  /** Says goodbye and closes. */
  | { kind: 'detach' }
  /** Closes everything; the thread ends. */
  | { kind: 'end' };

export type PullReport =
  | { kind: 'attached' }
  /** `hashes`: the source can be asked for them. */
  | { kind: 'mapped'; ranges: Float64Array; hashes: boolean }
  /** Hashes of the blocks that were asked for, REHOST_HASH_BYTES each. */
  | { kind: 'sampled'; hashes: Uint8Array }
  /** Nothing left to take; others may still give blocks back. */
  | { kind: 'drained' }
  | { kind: 'detached' }
  /** The connection is of no further use; its blocks are given back. */
  | { kind: 'lost'; error: WireError }
  /** The target failed: the connection as well, as what it owes cannot be taken. */
  | { kind: 'write-failed'; error: WireError }
  /** No other connection would do better. */
  | { kind: 'fatal'; error: WireError };

export type TargetCommand =
  /** Makes everything outside of the blocks in use read as zeros. */
  | { kind: 'zero-holes'; board: BoardShared }
  /** Flushes, and records in the journal what that covers. */
  | { kind: 'flush'; board: BoardShared }
  /** The source has shown that all that is recorded is as in the present snapshot. */
  | { kind: 'compared'; board: BoardShared }
  | { kind: 'end' };

export type TargetReport =
  | { kind: 'zeroed' }
  | { kind: 'noted' }
  | { kind: 'flushed' }
  | { kind: 'write-failed'; command: 'zero-holes' | 'flush' | 'compared'; error: WireError }
  | { kind: 'fatal'; error: WireError };

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A failure of a connection as it travels. */
export function connectionError(error: unknown): WireError {
  if (error instanceof StreamError || error instanceof SysError) {
    return toWire(new RehostError('TRANSFER_FAILED', error.message, { cause: error }));
  }
  return toWire(error);
}
