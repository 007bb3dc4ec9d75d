/**
 * A connection process: owns one libvirt connection and serves calls on it, one after the other, each blocking this process only.
 * A process and not a thread, because a call that hangs (a dead host, a wedged daemon) can then be ended by SIGKILL, and
 * because a fault inside a C library cannot take the orchestrator with it.
 */
import { CALLS, type CallName } from './calls.ts';
import { close, isAlive, libVersion, open } from './connect.ts';
import { LibvirtError } from './error.ts';
import { type ConnectPtr, silenceErrors } from './library.ts';
import { dieWithOwner } from './lifetime.ts';
import { type CallMessage, type OpenMessage, type ReplyMessage, toFailure } from './protocol.ts';

let uri: string | undefined;
let conn: ConnectPtr | undefined;

dieWithOwner(drop);
silenceErrors();

process.on('message', (message: OpenMessage | CallMessage) => {
  if ('uri' in message) uri = message.uri;
  else reply(message);
});

function reply({ id, call, args }: CallMessage): void {
  let answer: ReplyMessage;
  try {
    answer = { id, value: perform(call, args) };
  } catch (error) {
    answer = { id, failure: toFailure(error) };
  }
  process.send?.(answer);
}

function perform(call: string, args: unknown[]): unknown {
  if (uri === undefined || !Object.hasOwn(CALLS, call)) throw new Error(`no such call: ${call}`);
  const native = CALLS[call as CallName] as (context: { conn: ConnectPtr; uri: string }, ...args: unknown[]) => unknown;
  const live = connection(uri);
  try {
    return native({ conn: live, uri }, ...args);
  } catch (error) {
    if (!(error instanceof LibvirtError) || isAlive(live)) throw error;
    drop();
    throw new LibvirtError(error.facts(true));
  }
}

/**
 * The connection, opened when there is none. A daemon that was restarted since the last call is noticed by asking something
 * harmless first: then nothing was asked of it yet, and opening anew is safe whatever the call is.
 */
function connection(to: string): ConnectPtr {
  if (conn !== undefined) {
    const before = conn;
    try {
      libVersion(before);
      return before;
    } catch (error) {
      if (isAlive(before)) throw error;
      drop();
    }
  }
  try {
    conn = open(to);
    return conn;
  } catch (error) {
    if (error instanceof LibvirtError) throw new LibvirtError(error.facts(true));
    throw error;
  }
}

function drop(): void {
  if (conn !== undefined) close(conn);
  conn = undefined;
}
