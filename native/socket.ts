/** Blocking TCP over IPv4 and IPv6 by descriptor. Every descriptor belongs to whoever got it, until `closeSocket`. */
import { isIP, isIPv4 } from 'node:net';
import { networkInterfaces } from 'node:os';
import koffi, { type KoffiFunc } from 'koffi';
import { lastErrno, lastError, SysError } from './errors.ts';
import type { Address, Memory } from './memory.ts';
import { type ByteStream, type Patience, SLICE_MS, StreamError } from './stream.ts';

const process_ = koffi.load(null);
// All buffers below are typed arrays that koffi pins for the call, or addresses of the caller's native memory that the
// kernel uses during the call only. All calls are thread-safe on different descriptors.
const socket = process_.func('int socket(int family, int type, int protocol)') as KoffiFunc<
  (family: number, type: number, protocol: number) => number
>;
const bind = process_.func('int bind(int fd, void *address, uint32_t bytes)') as KoffiFunc<
  (fd: number, address: Uint8Array, bytes: number) => number
>;
const listen_ = process_.func('int listen(int fd, int backlog)') as KoffiFunc<(fd: number, backlog: number) => number>;
const accept4 = process_.func('int accept4(int fd, void *address, void *bytes, int flags)') as KoffiFunc<
  (fd: number, address: null, bytes: null, flags: number) => number
>;
const connect_ = process_.func('int connect(int fd, void *address, uint32_t bytes)') as KoffiFunc<
  (fd: number, address: Uint8Array, bytes: number) => number
>;
const getsockname = process_.func('int getsockname(int fd, void *address, void *bytes)') as KoffiFunc<
  (fd: number, address: Uint8Array, bytes: Uint32Array) => number
>;
const setsockopt = process_.func(
  'int setsockopt(int fd, int level, int name, void *value, uint32_t bytes)',
) as KoffiFunc<(fd: number, level: number, name: number, value: NodeJS.TypedArray, bytes: number) => number>;
const getsockopt = process_.func('int getsockopt(int fd, int level, int name, void *value, void *bytes)') as KoffiFunc<
  (fd: number, level: number, name: number, value: NodeJS.TypedArray, bytes: Uint32Array) => number
>;
const fcntl = process_.func('int fcntl(int fd, int command, int argument)') as KoffiFunc<
  (fd: number, command: number, argument: number) => number
>;
const poll_ = process_.func('int poll(void *fds, unsigned long count, int timeout_ms)') as KoffiFunc<
  (fds: Uint8Array, count: number, timeoutMs: number) => number
>;
const recv = process_.func('intptr_t recv(int fd, uintptr_t into, size_t bytes, int flags)') as KoffiFunc<
  (fd: number, into: Address, bytes: number, flags: number) => number
>;
const send = process_.func('intptr_t send(int fd, uintptr_t from, size_t bytes, int flags)') as KoffiFunc<
  (fd: number, from: Address, bytes: number, flags: number) => number
>;
const shutdown = process_.func('int shutdown(int fd, int how)') as KoffiFunc<(fd: number, how: number) => number>;
const close = process_.func('int close(int fd)') as KoffiFunc<(fd: number) => number>;
const inetPton = process_.func('int inet_pton(int family, const char *text, void *into)') as KoffiFunc<
  (family: number, text: string, into: Uint8Array) => number
>;

// <sys/socket.h>, <netinet/tcp.h>, <fcntl.h>, <poll.h> of Linux on x86-64 and arm64.
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_ERROR = 4;
const SO_KEEPALIVE = 9;
const SO_RCVTIMEO = 20;
const SO_SNDTIMEO = 21;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_USER_TIMEOUT = 18;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;
const MSG_PEEK = 0x02;
const MSG_DONTWAIT = 0x40;
const MSG_WAITALL = 0x100;
const MSG_NOSIGNAL = 0x4000;
const SHUT_RDWR = 2;
const BACKLOG = 64;
const EAGAIN = 11;
const EINVAL = 22;
const EINPROGRESS = 115;
const ETIMEDOUT = 110;
/** A peer whose machine is gone is noticed within about this, ms (keep-alive probes and unacknowledged data). */
const DEAD_PEER_MS = 30_000;

export const POLLIN = 0x001;
export const POLLOUT = 0x004;
/** The peer sends nothing any more (<asm-generic/poll.h>). */
export const POLLRDHUP = 0x2000;

/** `sockaddr_in` or `sockaddr_in6` of an IP address, with `%scope` where it is link-local. Names are not looked up. */
function socketAddress(host: string, port: number): Uint8Array {
  const [ip = '', zone] = host.split('%');
  if (isIP(ip) === 0) throw new SysError(EINVAL, 'inet_pton', host);
  if (isIPv4(ip)) {
    const bytes = new Uint8Array(16);
    new DataView(bytes.buffer).setUint16(0, AF_INET, true);
    new DataView(bytes.buffer).setUint16(2, port);
    if (inetPton(AF_INET, ip, bytes.subarray(4)) !== 1) throw new SysError(EINVAL, 'inet_pton', host);
    return bytes;
  }
  const bytes = new Uint8Array(28);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_INET6, true);
  view.setUint16(2, port);
  if (inetPton(AF_INET6, ip, bytes.subarray(8)) !== 1) throw new SysError(EINVAL, 'inet_pton', host);
  if (zone !== undefined) view.setUint32(24, scopeId(zone, host), true);
  return bytes;
}

function scopeId(zone: string, host: string): number {
  if (/^[0-9]{1,9}$/.test(zone)) return Number(zone);
  for (const address of networkInterfaces()[zone] ?? []) {
    if (address.family === 'IPv6' && address.scopeid !== 0) return address.scopeid;
  }
  throw new SysError(EINVAL, 'if_nametoindex', host);
}

function setOption(fd: number, level: number, name: number, value: number): void {
  if (setsockopt(fd, level, name, new Int32Array([value]), 4) !== 0)
    throw lastError('setsockopt', undefined, `${name}`);
}

function newSocket(address: Uint8Array, extra: number): number {
  const family = address.length === 16 ? AF_INET : AF_INET6;
  const fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | extra, 0);
  if (fd < 0) throw lastError('socket');
  return fd;
}

/**
 * A listening socket on an IP address (`::` serves IPv4 too) and port (0: any free one). It does not block: accept with
 * `acceptOne` after `pollSockets`. The caller owns the descriptor; several threads may accept on it.
 */
export function listen(host: string, port: number): { fd: number; port: number } {
  const address = socketAddress(host, port);
  const fd = newSocket(address, SOCK_NONBLOCK);
  try {
    setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (address.length !== 16) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (bind(fd, address, address.length) !== 0) throw lastError('bind', `${host} port ${port}`);
    if (listen_(fd, BACKLOG) !== 0) throw lastError('listen', `${host} port ${port}`);
    const bound = new Uint8Array(28);
    if (getsockname(fd, bound, new Uint32Array([28])) !== 0) throw lastError('getsockname');
    return { fd, port: new DataView(bound.buffer).getUint16(2) };
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** Takes one waiting connection, or undefined when there is none. The new socket does not block; the caller owns it. */
export function acceptOne(listenFd: number): number | undefined {
  const fd = accept4(listenFd, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) return fd;
  const error = lastError('accept4');
  // The peer may have gone between poll and accept: accept(2) says to treat these like EAGAIN.
  if (['EAGAIN', 'EINTR', 'ECONNABORTED', 'EPROTO', 'ENETDOWN', 'EHOSTUNREACH', 'ENETUNREACH'].includes(error.code)) {
    return undefined;
  }
  throw error;
}

/**
 * Connects within `deadlineMs`. `check` is called about every SLICE_MS and throws to give up. The socket blocks by slices
 * (`makeBlocking`); the caller owns it.
 */
export function connect(host: string, port: number, deadlineMs: number, check: () => void): number {
  const address = socketAddress(host, port);
  const name = `${host} port ${port}`;
  const fd = newSocket(address, SOCK_NONBLOCK);
  try {
    if (connect_(fd, address, address.length) !== 0 && lastErrno() !== EINPROGRESS) throw lastError('connect', name);
    const deadline = performance.now() + deadlineMs;
    while (pollSockets([{ fd, events: POLLOUT }], SLICE_MS)[0] === 0) {
      check();
      if (performance.now() > deadline) throw new SysError(ETIMEDOUT, 'connect', name);
    }
    const status = new Int32Array(1);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, status, new Uint32Array([4])) !== 0) throw lastError('getsockopt', name);
    if (status[0] !== 0) throw new SysError(status[0] ?? EINVAL, 'connect', name);
    tune(fd);
    makeBlocking(fd);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** No delay for small requests, and a dead peer is noticed. Buffer sizes stay the kernel's: setting them ends its auto-tuning. */
export function tune(fd: number): void {
  setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  setOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, 15);
  setOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
  setOption(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
  setOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, DEAD_PEER_MS);
}

/** Makes calls on this socket block, at most SLICE_MS each; after that they fail with EAGAIN. */
export function makeBlocking(fd: number): void {
  const flags = fcntl(fd, F_GETFL, 0);
  if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) !== 0) throw lastError('fcntl');
  const slice = new BigInt64Array([BigInt(Math.floor(SLICE_MS / 1000)), BigInt((SLICE_MS % 1000) * 1000)]);
  if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, slice, 16) !== 0) throw lastError('setsockopt SO_RCVTIMEO');
  if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, slice, 16) !== 0) throw lastError('setsockopt SO_SNDTIMEO');
}

/** Waits at most `timeoutMs` until one of the sockets is ready. Returns what is ready for each, 0 for nothing. */
export function pollSockets(wanted: readonly { fd: number; events: number }[], timeoutMs: number): number[] {
  const bytes = new Uint8Array(8 * Math.max(1, wanted.length));
  const view = new DataView(bytes.buffer);
  wanted.forEach((one, index) => {
    view.setInt32(index * 8, one.fd, true);
    view.setInt16(index * 8 + 4, one.events, true);
  });
  if (poll_(bytes, wanted.length, timeoutMs) < 0 && lastErrno() !== koffi.os.errno.EINTR) throw lastError('poll');
  return wanted.map((_, index) => view.getInt16(index * 8 + 6, true));
}

/** Has the peer sent bytes that nobody read yet? False at the end of the stream. */
export function hasPending(fd: number, scratch: Address): boolean {
  return recv(fd, scratch, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/** Receives what is there, at most `bytes`: 0 when nothing is, StreamError 'closed' at the end. For sockets that do not block. */
export function receiveSome(fd: number, address: Address, bytes: number): number {
  const got = recv(fd, address, bytes, MSG_DONTWAIT);
  if (got > 0) return got;
  if (got === 0) throw new StreamError('closed', 'The other side closed the connection.');
  if (lastErrno() === EAGAIN || lastErrno() === koffi.os.errno.EINTR) return 0;
  throw lastError('recv');
}

/**
 * Sends a message that surely fits into a fresh socket's buffer, by way of `scratch`, whose start is overwritten. EAGAIN when
 * it does not fit after all. For sockets that do not block.
 */
export function sendSmall(fd: number, message: Uint8Array, scratch: Memory): void {
  scratch.bytes.set(message);
  const put = send(fd, scratch.address, message.length, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (put < 0) throw lastError('send');
  if (put !== message.length) throw new SysError(EAGAIN, 'send');
}

/** Ends both directions without closing the descriptor. Errors mean that it was over already. */
export function shutdownSocket(fd: number): void {
  shutdown(fd, SHUT_RDWR);
}

/** Closes a descriptor that the caller owns. */
export function closeSocket(fd: number): void {
  close(fd);
}

/** The unencrypted stream over a blocking socket (`makeBlocking`). */
export class PlainStream implements ByteStream {
  readonly fd: number;
  wireIn = 0;
  wireOut = 0;
  readonly #patience: Patience;
  #open = true;

  /** Takes ownership of `fd`. */
  constructor(fd: number, patience: Patience) {
    this.fd = fd;
    this.#patience = patience;
  }

  readExact(address: Address, bytes: number): void {
    let since = performance.now();
    for (let done = 0; done < bytes; ) {
      const got = recv(this.fd, address + done, bytes - done, MSG_WAITALL);
      if (got > 0) {
        done += got;
        this.wireIn += got;
        if (done === bytes) return;
        since = performance.now();
        this.#patience.check();
      } else if (got === 0) throw new StreamError('closed', 'The other side closed the connection.');
      else this.#waited(since, 'recv');
    }
  }

  write(address: Address, bytes: number): void {
    let since = performance.now();
    for (let done = 0; done < bytes; ) {
      const put = send(this.fd, address + done, bytes - done, MSG_NOSIGNAL);
      if (put > 0) {
        done += put;
        this.wireOut += put;
        if (done === bytes) return;
        since = performance.now();
        this.#patience.check();
      } else this.#waited(since, 'send');
    }
  }

  /** Nothing is buffered here. */
  flush(): void {}

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    shutdownSocket(this.fd);
    closeSocket(this.fd);
  }

  #waited(since: number, call: 'recv' | 'send'): void {
    const errno = lastErrno();
    if (errno !== EAGAIN && errno !== koffi.os.errno.EINTR) throw lastError(call);
    this.#patience.slice(since, call === 'recv' ? 'arrived' : 'could be sent');
  }
}
