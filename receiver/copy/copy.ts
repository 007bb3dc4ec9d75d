/** One copy: what is asked of it, what it answers, and what is checked before anything begins. The work is session.ts. */
import type { OnReadError, RECEIVER_METHODS, ResultOf } from '../../appliance/api/control.ts';
import { RehostError } from '../../appliance/api/errors.ts';
import { dataPsk } from '../../appliance/api/psk.ts';
import { CONNECTIONS_MAX, TOKEN_BYTES } from '../../appliance/api/transfer.ts';
import { listen } from '../../native/socket.ts';
import type { PskCredentials } from '../../native/tls.ts';
import { openTarget } from '../target/open.ts';
import type { TargetSpec } from '../target/target.ts';
import type { DiskRecord } from './disk-copy.ts';
import { Journal } from './journal.ts';
import { ALIGN_BYTES, type Plan } from './plan.ts';
import { Session } from './session.ts';
import type { JournalWork, Meeting } from './shared.ts';
import type { Phase } from './watch.ts';

export interface CopyTargetDisk {
  /** Export name: the source disk's name. */
  disk: string;
  sizeBytes: number;
  /** At least as large as the disk; what lies behind the disk's end is made zero. */
  target: TargetSpec;
  /** Of the snapshot, for the journal: which disk, and in which state of it. */
  identity?: string;
}

export interface CopyBasics {
  disks: readonly CopyTargetDisk[];
  connections: number;
  /** Other bounds than BOUNDS, ms. */
  bounds?: Partial<Record<Phase, number>>;
  /** Bytes per second on the wire; null: no limit. */
  bytesPerSecond?: number | null;
  paused?: boolean;
  /** How often what is written is flushed and recorded, ms; FLUSH_EVERY_MS when it is not said. */
  flushEveryMs?: number;
  /** 'fail' when it is not said. */
  onReadError?: OnReadError;
}

export interface CopyOptions extends CopyBasics {
  jobId: string;
  /** TOKEN_BYTES bytes. */
  token: Buffer;
  /** An IP address of this machine, or `::` for all; port 0 for any. */
  listen: { host: string; port: number };
  /** Path of the volume on which is recorded what is done; what it has already is not copied again. */
  journal?: string;
  /** Of which snapshot the source's disks are, for the journal. */
  snapshot?: string;
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
  /** Changes limit and pause while it runs. What is left out stays. */
  tune(change: { bytesPerSecond?: number | null; paused?: boolean }): void;
  /** The disks of a copy that is done. TRANSFER_FAILED when it is not. */
  copied(): CopiedDisk[];
  /** Ends it, whatever it does; all targets are closed when it resolves, but for one whose storage hangs. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Listens for the agent and copies its exports. REQUEST_INVALID and TARGET_WRITE_FAILED before anything is touched, and SOURCE_CHANGED
 * when the journal is that of other disks.
 */
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
  const order = {
    jobId: options.jobId,
    snapshot: options.snapshot ?? '',
    disks: options.disks.map((disk) => ({ ...disk, identity: disk.identity ?? '' })),
  };
  const journal = options.journal === undefined ? undefined : { path: options.journal, order };
  const records = journal ? options.disks.map((_, index) => readRecord(journal, index)) : [];
  const bound = listen(options.listen.host, options.listen.port);
  return new Session({ ...options, rooms, journal, records }, { kind: 'listen', fd: bound.fd }, psk, bound.port);
}

/** Copies exports of a standard server, which this side dials. */
export function startPull(options: PullOptions): CopySession {
  const rooms = checkBasics(options);
  const meeting: Meeting = { kind: 'dial', ...options.server, connections: options.connections };
  return new Session({ ...options, rooms, journal: undefined, records: [] }, meeting, options.security, 0);
}

/** What an earlier attempt has recorded of a disk. */
function readRecord(journal: JournalWork, index: number): DiskRecord {
  const opened = Journal.open(openTarget({ kind: 'device', path: journal.path }), journal.order, index);
  try {
    const { snapshot, bad } = opened.notes;
    return { list: opened.list(), bad, sameSnapshot: snapshot === journal.order.snapshot };
  } finally {
    opened.close();
  }
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
