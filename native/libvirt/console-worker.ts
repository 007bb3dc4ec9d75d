/** A console process: copies one VM's serial console to its stdout until the console ends. Its owner ends it by SIGKILL. */
import { writeSync } from 'node:fs';
import { close, open } from './connect.ts';
import { readConsole } from './domain.ts';
import { silenceErrors } from './library.ts';
import { dieWithOwner } from './lifetime.ts';
import { type ConsoleMessage, type ConsoleStatus, STATUS_FD, toFailure } from './protocol.ts';

const STDOUT_FD = 1;

dieWithOwner(() => undefined);
silenceErrors();
process.once('message', ({ uri, domain }: ConsoleMessage) => {
  try {
    const conn = open(uri);
    try {
      readConsole(conn, domain, () => say({ opened: true }), writeAll);
    } finally {
      close(conn);
    }
  } catch (error) {
    say({ failure: toFailure(error) });
  }
  process.disconnect();
});

/** Blocks while the owner does not read. */
function writeAll(piece: Uint8Array): void {
  for (let done = 0; done < piece.length; ) done += writeSync(STDOUT_FD, piece, done);
}

function say(status: ConsoleStatus): void {
  writeSync(STATUS_FD, `${JSON.stringify(status)}\n`);
}
