/** Thread of one data connection of the receiver. It does what the session tells it, one command after the other, blocking. */
import { parentPort } from 'node:worker_threads';
import { RehostError, toWire } from '../../appliance/api/errors.ts';
import { REHOST_HASH_BYTES } from '../../appliance/api/nbd.ts';
import { assignment } from '../../appliance/api/threads.ts';
import { BLOCK_BYTES, HANDSHAKE_DEADLINE_MS } from '../../appliance/api/transfer.ts';
import { SysError } from '../../native/errors.ts';
import { Memory } from '../../native/memory.ts';
import { PlainStream } from '../../native/socket.ts';
import { type ByteStream, Patience, StreamError } from '../../native/stream.ts';
import { TlsStream } from '../../native/tls.ts';
import { openTarget } from '../target/open.ts';
import type { Target } from '../target/target.ts';
import { Board, type BoardShared } from './board.ts';
import { type Agreement, agree } from './client.ts';
import { readMap } from './map.ts';
import { Pace } from './pace.ts';
import { PatientTarget } from './patient-target.ts';
import { Puller } from './pull.ts';
import { Requests } from './requests.ts';
import {
  connectionError,
  MAP_DEADLINE_MS,
  type PullCommand,
  type PullReport,
  type PullWork,
  SessionFlags,
  Stopped,
} from './shared.ts';

const SCRATCH_BYTES = 8 * 1024;
/**
 * How long a source may be silent while it owes content, ms: a disk with a bad sector tries for up to a minute, and the kernel several
 * times. A peer that is gone is found by TCP's own keep-alive, long before.
 */
const CONTENT_DEADLINE_MS = 240_000;

interface Connection {
  stream: ByteStream;
  patience: Patience;
  requests: Requests;
  agreement: Agreement;
  disk: number;
  /** Wire bytes that were counted. */
  counted: number;
}

const work = await assignment<PullWork>();
const flags = new SessionFlags(work.flags);
const scratch = new Memory(SCRATCH_BYTES);
const pace = new Pace(work.pace);
const puller = new Puller(work.onReadError);
const targets = new Map<number, Target>();
let connection: Connection | undefined;
/** The board that blocks may be taken from: to give them back when the connection breaks. */
let board: Board | undefined;

/** Counts what came over the wire since the last time; returns it. */
function count(from: Connection): number {
  const now = from.stream.wireIn;
  const bytes = now - from.counted;
  flags.addWire(bytes);
  from.counted = now;
  return bytes;
}

/** After each step of content: counts it, and keeps to the limit. */
function stepped(bytes: number): void {
  flags.check();
  flags.addContent(bytes);
  if (connection) pace.spend(count(connection), () => flags.check());
}

function attach(fd: number, ssl: number, index: number): PullReport {
  const disk = work.disks[index];
  const patience = new Patience(HANDSHAKE_DEADLINE_MS, () => flags.check());
  const stream = ssl === 0 ? new PlainStream(fd, patience) : new TlsStream(fd, ssl, patience);
  try {
    if (!disk) throw new RehostError('INTERNAL', `There is no disk ${index}.`);
    patience.silenceMs = HANDSHAKE_DEADLINE_MS;
    const agreement = agree(stream, scratch, disk.disk);
    patience.silenceMs = CONTENT_DEADLINE_MS;
    if (agreement.sizeBytes !== disk.sizeBytes) {
      throw new RehostError(
        'SOURCE_CHANGED',
        `The export '${disk.disk}' has ${agreement.sizeBytes} bytes; the replica has ${disk.sizeBytes}.`,
      );
    }
    const requests = new Requests(stream, agreement, stepped);
    connection = { stream, patience, requests, agreement, disk: index, counted: 0 };
    count(connection);
    return { kind: 'attached' };
  } catch (error) {
    flags.addWire(stream.wireIn);
    stream.close();
    flags.connectionClosed();
    throw error;
  }
}

function map(open: Connection): PullReport {
  // Only the first answer waits until the source knows its map.
  let silenceMs = MAP_DEADLINE_MS;
  const ranges = readMap(open.requests, open.agreement, () => {
    flags.check();
    count(open);
    open.patience.silenceMs = silenceMs;
    silenceMs = CONTENT_DEADLINE_MS;
  });
  open.patience.silenceMs = CONTENT_DEADLINE_MS;
  return { kind: 'mapped', ranges, hashes: open.agreement.hashes };
}

function pull(open: Connection, shared: BoardShared): PullReport {
  const target = targets.get(open.disk) ?? openDisk(open.disk);
  board = new Board(shared);
  puller.run({
    requests: open.requests,
    board,
    target,
    worker: work.worker,
    ordered: open.agreement.hashes,
    mayAsk: () => mayAsk(open),
    progress: () => {
      flags.check();
      count(open);
    },
  });
  board = undefined;
  return { kind: 'drained' };
}

/** What is in flight is finished when the copy stands; with nothing in flight this thread waits for its end. */
function mayAsk(open: Connection): boolean {
  if (!pace.standing) return true;
  if (open.requests.inFlight > 0) return false;
  pace.waitWhileStanding(() => flags.check());
  return true;
}

function sample(open: Connection, blocks: readonly number[]): PullReport {
  const { sizeBytes } = open.agreement;
  const hashes = new Uint8Array(blocks.length * REHOST_HASH_BYTES);
  blocks.forEach((block, index) => {
    flags.check();
    pace.waitWhileStanding(() => flags.check());
    const offset = block * BLOCK_BYTES;
    const asked = open.requests.hash(offset, Math.min(BLOCK_BYTES, sizeBytes - offset));
    open.requests.flush();
    if (open.requests.complete() !== asked) throw new RehostError('INTERNAL', 'A reply to a request of somebody else.');
    if (asked.error && work.onReadError === 'fail')
      throw new RehostError('SOURCE_READ_FAILED', `The source cannot read at ${offset}: ${asked.error.message}.`);
    // Zeros for a block that went bad after it was copied: it has no hash to compare any longer.
    hashes.set(asked.hash ?? [], index * REHOST_HASH_BYTES);
    // Nothing of it came over the wire, but the source is at work.
    flags.addContent(BLOCK_BYTES);
    count(open);
  });
  return { kind: 'sampled', hashes };
}

function openDisk(index: number): Target {
  const disk = work.disks[index];
  if (!disk) throw new RehostError('INTERNAL', `There is no disk ${index}.`);
  const target = new PatientTarget(openTarget(disk.target), pace, () => flags.check());
  targets.set(index, target);
  return target;
}

/** Closes the connection, if there is one, and gives back what it had taken. */
function hangUp(): void {
  board?.giveBack(work.worker);
  board = undefined;
  if (!connection) return;
  connection.stream.close();
  count(connection);
  connection.requests.free();
  connection = undefined;
  flags.connectionClosed();
}

function obey(command: Exclude<PullCommand, { kind: 'end' }>): PullReport {
  if (command.kind === 'attach') return attach(command.fd, command.ssl, command.disk);
  if (!connection) throw new RehostError('INTERNAL', `'${command.kind}' without a connection.`);
  if (command.kind === 'map') return map(connection);
  if (command.kind === 'pull') return pull(connection, command.board);
  if (command.kind === 'sample') return sample(connection, command.blocks);
  connection.requests.disconnect();
  hangUp();
  return { kind: 'detached' };
}

/** Does it end the connection only, so that another one may do better? Everything else is final. */
function endsConnection(error: unknown): boolean {
  if (error instanceof StreamError || error instanceof SysError || error instanceof Stopped) return true;
  return error instanceof RehostError && (error.code === 'PROTOCOL_VIOLATION' || error.code === 'TRANSFER_FAILED');
}

function end(): void {
  hangUp();
  for (const target of targets.values()) target.close();
  puller.free();
  scratch.free();
  parentPort?.close();
}

parentPort?.on('message', (command: PullCommand) => {
  if (command.kind === 'end') {
    end();
    return;
  }
  let report: PullReport;
  try {
    report = obey(command);
  } catch (error) {
    const written = error instanceof RehostError && error.code === 'TARGET_WRITE_FAILED';
    if (written) board?.distrust();
    hangUp();
    if (endsConnection(error)) report = { kind: 'lost', error: connectionError(error) };
    else report = { kind: written ? 'write-failed' : 'fatal', error: toWire(error) };
  }
  parentPort?.postMessage(report);
});
