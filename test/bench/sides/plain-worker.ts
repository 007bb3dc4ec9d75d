/** Thread of the server without TLS: accepts one connection after the other and serves it to its end. */
import { fullMap } from '../../../agent/export/allocation/build.ts';
import { AllocationMap } from '../../../agent/export/allocation/map.ts';
import { MessageIo } from '../../../agent/export/io.ts';
import { negotiate } from '../../../agent/export/negotiate.ts';
import { openDisk } from '../../../agent/export/open-disk.ts';
import { Transmission } from '../../../agent/export/transmit.ts';
import { assignment } from '../../../appliance/api/threads.ts';
import { acceptOne, makeBlocking, PlainStream, POLLIN, pollSockets, tune } from '../../../native/socket.ts';
import { Patience, SLICE_MS, StreamError } from '../../../native/stream.ts';
import { AlreadySecured } from './already-secured.ts';
import type { PlainWork } from './serve-plain.ts';

const work = await assignment<PlainWork>();
const { disk, path, sizeBytes } = work;
const patience = new Patience(30_000, () => {});

function serve(fd: number): void {
  const plain = new PlainStream(fd, patience);
  const io = new MessageIo(new AlreadySecured(plain));
  try {
    const negotiated = negotiate(io, [{ name: disk, sizeBytes }], () => plain);
    if (!negotiated) return;
    const reader = openDisk({ disk, path, sizeBytes }, new AllocationMap(fullMap(sizeBytes)));
    try {
      new Transmission(io, reader, negotiated, () => {}).run();
    } finally {
      reader.close();
    }
  } catch (error) {
    // A client that hangs up without a goodbye.
    if (!(error instanceof StreamError)) throw error;
  } finally {
    io.close();
  }
}

// The bench ends the process.
for (;;) {
  if (pollSockets([{ fd: work.listenFd, events: POLLIN }], SLICE_MS)[0] === 0) continue;
  const fd = acceptOne(work.listenFd);
  if (fd === undefined) continue;
  tune(fd);
  makeBlocking(fd);
  serve(fd);
}
