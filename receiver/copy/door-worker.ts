/**
 * Thread that brings connections: takes those of the agent (or dials a standard server), leads each through TLS, and hands
 * over the ones that proved themselves. Who has no key holds one of HALF_OPEN_MAX places until the deadline, and nothing else.
 */
import { parentPort } from 'node:worker_threads';
import { assignment } from '../../appliance/api/threads.ts';
import { HALF_OPEN_MAX, HANDSHAKE_DEADLINE_MS } from '../../appliance/api/transfer.ts';
import { Memory } from '../../native/memory.ts';
import { acceptOne, closeSocket, connect, makeBlocking, POLLIN, pollSockets, tune } from '../../native/socket.ts';
import { SLICE_MS } from '../../native/stream.ts';
import { TlsContext } from '../../native/tls.ts';
import { Opening } from './opening.ts';
import { type DoorReport, type DoorWork, messageOf, SessionFlags, Stopped } from './shared.ts';

/** A dialled server that does not answer is tried again after this, ms. */
const REDIAL_MS = 500;

const work = await assignment<DoorWork>();
const flags = new SessionFlags(work.flags);
const scratch = new Memory(4096);
const tls = work.security === 'none' ? undefined : new TlsContext('client', work.security);
const openings: Opening[] = [];
/** Not to be dialled again before, performance.now(), ms. */
let dialAfter = 0;

function report(message: DoorReport): void {
  parentPort?.postMessage(message);
}

function add(fd: number): void {
  try {
    tune(fd);
  } catch (error) {
    // The peer was gone already.
    closeSocket(fd);
    report({ kind: 'refused', reason: messageOf(error) });
    return;
  }
  // The oldest gives way: a peer with the key is through in milliseconds, one without it must not keep others out.
  const oldest = openings.length >= HALF_OPEN_MAX ? openings[0] : undefined;
  if (oldest) drop(oldest, 'Too many connections are half open.');
  openings.push(new Opening(fd, tls, performance.now() + HANDSHAKE_DEADLINE_MS));
}

function drop(opening: Opening, reason: string): void {
  openings.splice(openings.indexOf(opening), 1);
  opening.free();
  closeSocket(opening.fd);
  dialAfter = performance.now() + REDIAL_MS;
  report({ kind: 'refused', reason });
}

function advance(opening: Opening): void {
  try {
    opening.advance(scratch);
    if (!opening.done) return;
    makeBlocking(opening.fd);
  } catch (error) {
    drop(opening, messageOf(error));
    return;
  }
  openings.splice(openings.indexOf(opening), 1);
  flags.connectionOpened();
  report({ kind: 'connection', fd: opening.fd, ssl: opening.take() });
}

/** One connection more, where we are the side that dials and fewer are open than wanted. */
function dialMore(): void {
  if (work.meeting.kind !== 'dial') return;
  if (openings.length + flags.openConnections >= work.meeting.connections || performance.now() < dialAfter) return;
  try {
    add(connect(work.meeting.host, work.meeting.port, HANDSHAKE_DEADLINE_MS, () => flags.check()));
  } catch (error) {
    if (error instanceof Stopped) return;
    dialAfter = performance.now() + REDIAL_MS;
    report({ kind: 'refused', reason: messageOf(error) });
  }
}

function round(): void {
  dialMore();
  const listenFd = work.meeting.kind === 'listen' ? work.meeting.fd : -1;
  // poll(2) ignores negative descriptors.
  const wanted = [{ fd: listenFd, events: POLLIN }, ...openings.map(({ fd, events }) => ({ fd, events }))];
  const ready = pollSockets(wanted, SLICE_MS);
  const waiting = [...openings];
  waiting.forEach((opening, index) => {
    if (ready[index + 1] !== 0) advance(opening);
    else if (performance.now() > opening.deadline) {
      drop(opening, `No handshake within ${HANDSHAKE_DEADLINE_MS} ms.`);
    }
  });
  if (ready[0] !== 0 && listenFd >= 0) {
    const fd = acceptOne(listenFd);
    if (fd !== undefined) add(fd);
  }
}

try {
  while (!flags.stopped) round();
} finally {
  for (const opening of [...openings]) drop(opening, 'The copy ended.');
  tls?.free();
  scratch.free();
}
