/** A ByteStream in memory: what it reads comes packet by packet from a function, what is written to it goes to another. */
import koffi, { type KoffiFunc } from 'koffi';
import { type ByteStream, StreamError } from '../../../native/stream.ts';
import { peek, poke } from './copy.ts';
import { type Address, mustBeLive } from './guarded-memory.ts';
import { must } from './violation.ts';

/** Calls that one input may cause: far above what any input's size explains. */
const CALLS_MAX = 400_000;
const WRITTEN_MAX_BYTES = 512 * 1024 * 1024;
const AF_UNIX = 1;
const SOCK_STREAM_NONBLOCK = 1 | 0o4000;
const MSG_NOSIGNAL = 0x4000;
const process_ = koffi.load(null);
const socketpair = process_.func('int socketpair(int family, int type, int protocol, void *fds)') as KoffiFunc<
  (family: number, type: number, protocol: number, fds: Int32Array) => number
>;
const send = process_.func('intptr_t send(int fd, void *from, size_t bytes, int flags)') as KoffiFunc<
  (fd: number, from: Uint8Array, bytes: number, flags: number) => number
>;

/** Two connected sockets that do not block. The caller closes both. */
export function unixPair(): [number, number] {
  const fds = new Int32Array(2);
  must(socketpair(AF_UNIX, SOCK_STREAM_NONBLOCK, 0, fds) === 0, 'socketpair');
  return [fds[0] ?? -1, fds[1] ?? -1];
}

/** Sends all that fits into the socket's buffer. */
export function sendTo(fd: number, bytes: Uint8Array): void {
  if (bytes.length > 0) send(fd, bytes, bytes.length, MSG_NOSIGNAL);
}

// Whether bytes wait is asked of a socket, not of the stream: one that always has one, and one that never has.
const [waiting, waitingPeer] = unixPair();
const [idle] = unixPair();
sendTo(waitingPeer, new Uint8Array(1));

/** What two streams over one connection share: the plain one and the encrypted one. */
export class Script {
  readonly #next: () => Buffer | undefined;
  readonly #sink: (bytes: Buffer) => void;
  #packet: Buffer = Buffer.alloc(0);
  #calls = 0;
  read = 0;
  written = 0;

  /** `next` gives what the peer sends once all before it was read; undefined: it closed. `sink` gets what the peer is sent. */
  constructor(next: () => Buffer | undefined, sink: (bytes: Buffer) => void) {
    this.#next = next;
    this.#sink = sink;
  }

  #count(): void {
    must(++this.#calls <= CALLS_MAX, `more than ${CALLS_MAX} calls for one input`);
  }

  get waits(): boolean {
    return this.#packet.length > 0;
  }

  readExact(address: Address, bytes: number): void {
    this.#count();
    mustBeLive(address, bytes);
    for (let done = 0; done < bytes; ) {
      if (this.#packet.length === 0) {
        this.#count();
        const packet = this.#next();
        if (!packet) throw new StreamError('closed', 'The script is at its end.');
        this.#packet = packet;
        continue;
      }
      const part = this.#packet.subarray(0, bytes - done);
      poke(address + done, part);
      this.#packet = this.#packet.subarray(part.length);
      done += part.length;
      this.read += part.length;
    }
  }

  write(address: Address, bytes: number): void {
    this.#count();
    this.written += bytes;
    must(this.written <= WRITTEN_MAX_BYTES, `more than ${WRITTEN_MAX_BYTES} bytes written for one input`);
    this.#sink(peek(address, bytes));
  }
}

export class ScriptStream implements ByteStream {
  readonly script: Script;
  closed = false;

  constructor(script: Script) {
    this.script = script;
  }

  get fd(): number {
    return this.script.waits ? waiting : idle;
  }

  get wireIn(): number {
    return this.script.read;
  }

  get wireOut(): number {
    return this.script.written;
  }

  readExact(address: Address, bytes: number): void {
    must(!this.closed, 'a read from a closed stream');
    this.script.readExact(address, bytes);
  }

  write(address: Address, bytes: number): void {
    must(!this.closed, 'a write to a closed stream');
    this.script.write(address, bytes);
  }

  flush(): void {}

  close(): void {
    this.closed = true;
  }
}
