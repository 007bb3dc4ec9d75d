/**
 * Thread of one data connection: gets a connection, proves itself, serves it, and begins again until it is told to stop.
 * Every call blocks in slices, so that the order to stop is seen within a fraction of a second.
 */
import { parentPort, receiveMessageOnPort } from 'node:worker_threads';
import { RehostError, toWire, type WireError } from '../../appliance/api/errors.ts';
import { assignment } from '../../appliance/api/threads.ts';
import { HANDSHAKE_DEADLINE_MS } from '../../appliance/api/transfer.ts';
import { SysError } from '../../native/errors.ts';
import {
  acceptOne,
  closeSocket,
  connect,
  makeBlocking,
  PlainStream,
  POLLIN,
  POLLRDHUP,
  pollSockets,
  tune,
} from '../../native/socket.ts';
import { Patience, SLICE_MS, StreamError } from '../../native/stream.ts';
import { TlsContext, TlsStream } from '../../native/tls.ts';
import { AllocationMap } from './allocation/map.ts';
import { MessageIo } from './io.ts';
import { MannerlyReads, Manners } from './manners.ts';
import { ClientFault, type Negotiated, negotiate } from './negotiate.ts';
import { openDisk } from './open-disk.ts';
import { type ConnectionReport, type ConnectionWork, Counters, type MapMessage, StopFlag } from './shared.ts';
import { Transmission } from './transmit.ts';

const BACKOFF_FIRST_MS = 100;
const BACKOFF_MAX_MS = 5_000;
/** A map that is read is noticed within this, ms. */
const MAP_SLICE_MS = 20;

/** The peer of the last connection chose an export. */
let served = false;

/** Thrown out of blocking calls when the session stops. */
class Stopped extends Error {}

const work = await assignment<ConnectionWork>();
const stop = new StopFlag(work.stop);
const counters = new Counters(work.disks.length, work.counters);
const manners = new MannerlyReads(new Manners(work.manners), (ms) => {
  stop.sleep(ms);
  checkStop();
});
const maps = new Map<number, AllocationMap>();
for (const message of work.maps) takeMap(message);

function report(message: ConnectionReport): void {
  parentPort?.postMessage(message);
}

function checkStop(): void {
  if (stop.isSet) throw new Stopped();
}

function takeMap({ disk, map }: MapMessage): void {
  maps.set(disk, new AllocationMap(map));
}

/** Waits until the disk's map is read, which takes minutes on large disks, as long as the peer does so too. */
function awaitMap(disk: number, fd: number): AllocationMap {
  for (;;) {
    // This thread is always in a blocking call, so that no event would bring the message.
    for (
      let news = parentPort && receiveMessageOnPort(parentPort);
      news;
      news = parentPort && receiveMessageOnPort(parentPort)
    ) {
      takeMap(news.message as MapMessage);
    }
    const map = maps.get(disk);
    if (map) return map;
    checkStop();
    if (pollSockets([{ fd, events: POLLRDHUP }], MAP_SLICE_MS)[0] !== 0) {
      throw new StreamError('closed', 'The peer left before the map of its disk was read.');
    }
  }
}

/** A connected socket, or undefined after a slice without one. The caller owns it. */
function meet(): number | undefined {
  if (work.meeting.kind === 'dial') {
    return connect(work.meeting.address, work.meeting.port, HANDSHAKE_DEADLINE_MS, checkStop);
  }
  if (pollSockets([{ fd: work.meeting.listenFd, events: POLLIN }], SLICE_MS)[0] === 0) return undefined;
  const fd = acceptOne(work.meeting.listenFd);
  if (fd === undefined) return undefined;
  try {
    tune(fd);
    makeBlocking(fd);
  } catch (error) {
    closeSocket(fd);
    throw error;
  }
  return fd;
}

/** Serves one connection to its end. Returns normally when the peer said goodbye. */
function serve(fd: number, tls: TlsContext): void {
  const deadline = { at: performance.now() + HANDSHAKE_DEADLINE_MS };
  const patience = new Patience(HANDSHAKE_DEADLINE_MS, () => {
    checkStop();
    if (performance.now() > deadline.at) {
      throw new StreamError('timeout', `The negotiation took longer than ${HANDSHAKE_DEADLINE_MS} ms.`);
    }
  });
  const io = new MessageIo(new PlainStream(fd, patience));
  let counted = 0;
  const count = (): void => {
    counters.addWire(io.wire - counted);
    counted = io.wire;
  };
  try {
    const negotiated = negotiate(
      io,
      work.disks.map(({ disk, sizeBytes }) => ({ name: disk, sizeBytes })),
      () => {
        const session = tls.session(fd);
        try {
          session.handshake(patience);
          return new TlsStream(fd, session.take(), patience);
        } finally {
          session.free();
        }
      },
    );
    // A chosen export may be left idle for as long as the client likes; keep-alive notices a dead peer.
    deadline.at = Number.POSITIVE_INFINITY;
    patience.silenceMs = Number.POSITIVE_INFINITY;
    if (!negotiated) return;
    report({ kind: 'up' });
    served = true;
    transmit(io, negotiated, count);
  } finally {
    io.close();
    count();
  }
}

function transmit(io: MessageIo, negotiated: Negotiated, count: () => void): void {
  const index = work.disks.findIndex(({ disk }) => disk === negotiated.name);
  const disk = work.disks[index];
  if (!disk) throw new RehostError('INTERNAL', `No disk '${negotiated.name}'.`);
  const reader = openDisk(disk, awaitMap(index, io.stream.fd), manners);
  let read = 0;
  const progress = (): void => {
    counters.addRead(index, reader.readBytes - read);
    read = reader.readBytes;
    count();
  };
  const transmission = new Transmission(io, reader, negotiated, progress);
  try {
    transmission.run();
  } finally {
    progress();
    transmission.free();
    reader.close();
  }
}

/** The error as it is reported; StreamErrors and faults of the peer are failures of the transfer. */
function wireError(error: unknown): WireError {
  if (error instanceof ClientFault)
    return toWire(new RehostError('PROTOCOL_VIOLATION', error.message, { cause: error }));
  if (error instanceof StreamError || error instanceof SysError) {
    return toWire(new RehostError('TRANSFER_FAILED', error.message, { cause: error }));
  }
  return toWire(error);
}

function main(): void {
  const tls = new TlsContext('server', work);
  let backoff = BACKOFF_FIRST_MS;
  try {
    while (!stop.isSet) {
      let fd: number | undefined;
      try {
        fd = meet();
        if (fd === undefined) continue;
        served = false;
        serve(fd, tls);
        report({ kind: 'down', error: null });
      } catch (error) {
        if (error instanceof Stopped) break;
        report({ kind: fd === undefined ? 'failed' : 'down', error: wireError(error) });
      }
      // A receiver that has all it wanted, and a stranger in its place, are not to be dialled ten times a second.
      backoff = fd !== undefined && served ? BACKOFF_FIRST_MS : Math.min(BACKOFF_MAX_MS, backoff * 2);
      // Whoever listens need not wait: the peers come by themselves.
      if (work.meeting.kind === 'dial') stop.sleep(backoff);
    }
  } finally {
    tls.free();
  }
}

main();
