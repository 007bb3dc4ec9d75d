/**
 * TLS 1.3 with a pre-shared key and nothing else: no certificates, no older versions, no tickets, no early data. The cipher
 * suite is TLS_AES_128_GCM_SHA256 alone: OpenSSL's PSK callbacks give SHA-256 sessions, so that a SHA-384 suite never matches.
 */
import koffi from 'koffi';
import { lastErrno, SysError } from './errors.ts';
import type { Address } from './memory.ts';
import * as openssl from './openssl.ts';
import { closeSocket, shutdownSocket } from './socket.ts';
import { type ByteStream, type Patience, StreamError } from './stream.ts';

const CIPHER_SUITE = 'TLS_AES_128_GCM_SHA256';
/** Bytes of a key that this file accepts: 256 bits as everywhere in Rehost, and not less than 128 from a standard peer's key file. */
const KEY_BYTES_MIN = 16;
const KEY_BYTES_MAX = 64;
/** Records are gathered to writes of this size and read in chunks of it: measured, one core, several times the speed of one call per record. */
const BULK_BUFFER_BYTES = 256 * 1024;
/** Enough for the small requests of the other direction. */
const SMALL_BUFFER_BYTES = 16 * 1024;
/** A TLS handshake in bad faith may send records without end: bound of what one handshake reads, bytes. */
const HANDSHAKE_MAX_BYTES = 64 * 1024;

const clientCallbackType = koffi.pointer(
  koffi.proto(
    'uint32_t rehost_psk_client(uintptr_t ssl, const char *hint, uintptr_t identity, uint32_t identity_max, uintptr_t key, uint32_t key_max)',
  ),
);
const serverCallbackType = koffi.pointer(
  koffi.proto('uint32_t rehost_psk_server(uintptr_t ssl, const char *identity, uintptr_t key, uint32_t key_max)'),
);

function put(bytes: Uint8Array, address: Address, room: number): boolean {
  if (bytes.length > room) return false;
  // OpenSSL owns this memory and keeps it for the callback's time; the view is dropped with it.
  new Uint8Array(koffi.view(BigInt(address), bytes.length)).set(bytes);
  return true;
}

/** Who we are to the peer: the identity names the key, the key proves it. */
export interface PskCredentials {
  identity: string;
  /** The context copies it; the caller may clear its own. */
  key: Uint8Array;
}

/**
 * One side's settings. Owned by the thread that made it, which must be the one that runs the handshakes (the PSK callback
 * is JS of that thread). Sessions outlive the context; `free` ends the possibility of new ones.
 */
export class TlsContext {
  readonly role: 'client' | 'server';
  readonly #context: Address;
  readonly #callback: bigint;
  readonly #key: Uint8Array;
  #freed = false;

  constructor(role: 'client' | 'server', credentials: PskCredentials) {
    if (credentials.key.length < KEY_BYTES_MIN || credentials.key.length > KEY_BYTES_MAX) {
      throw new RangeError(
        `A pre-shared key has ${KEY_BYTES_MIN} to ${KEY_BYTES_MAX} bytes, not ${credentials.key.length}.`,
      );
    }
    this.role = role;
    this.#key = Uint8Array.from(credentials.key);
    const identity = credentials.identity;
    const key = this.#key;
    this.#context = openssl.SSL_CTX_new(role === 'client' ? openssl.TLS_client_method() : openssl.TLS_server_method());
    if (this.#context === 0) throw new StreamError('tls', `SSL_CTX_new: ${openssl.takeErrors()}`);
    openssl.SSL_CTX_ctrl(this.#context, openssl.SSL_CTRL_SET_MIN_PROTO_VERSION, openssl.TLS1_3_VERSION, 0);
    if (openssl.SSL_CTX_set_ciphersuites(this.#context, CIPHER_SUITE) !== 1) {
      throw new StreamError('tls', `${CIPHER_SUITE}: ${openssl.takeErrors()}`);
    }
    openssl.SSL_CTX_set_num_tickets(this.#context, 0);
    if (role === 'client') {
      // Without this a client takes any server that shows any certificate instead of the key. No authority is trusted, so
      // that every certificate fails; `step` checks once more that the key was used. A server without a certificate can
      // do nothing but PSK.
      openssl.SSL_CTX_set_verify(this.#context, openssl.SSL_VERIFY_PEER, 0);
      const name = Buffer.from(`${identity}\0`, 'utf8');
      this.#callback = koffi.register(
        (_ssl: Address, _hint: string | null, id: Address, idMax: number, into: Address, max: number): number =>
          put(name, id, idMax) && put(key, into, max) ? key.length : 0,
        clientCallbackType,
      );
      openssl.SSL_CTX_set_psk_client_callback(this.#context, this.#callback);
    } else {
      this.#callback = koffi.register(
        (_ssl: Address, id: string | null, into: Address, max: number): number =>
          id === identity && put(key, into, max) ? key.length : 0,
        serverCallbackType,
      );
      openssl.SSL_CTX_set_psk_server_callback(this.#context, this.#callback);
    }
  }

  /** A new session over a socket. The socket stays the caller's until the session became a TlsStream. */
  session(fd: number): TlsSession {
    const ssl = openssl.SSL_new(this.#context);
    if (ssl === 0) throw new StreamError('tls', `SSL_new: ${openssl.takeErrors()}`);
    const buffer = openssl.BIO_new(openssl.BIO_f_buffer());
    // The client of a copy reads data and writes requests, the server the other way round.
    const [read, write] =
      this.role === 'client' ? [BULK_BUFFER_BYTES, SMALL_BUFFER_BYTES] : [SMALL_BUFFER_BYTES, BULK_BUFFER_BYTES];
    openssl.BIO_int_ctrl(buffer, openssl.BIO_C_SET_BUFF_SIZE, read, 0);
    openssl.BIO_int_ctrl(buffer, openssl.BIO_C_SET_BUFF_SIZE, write, 1);
    const chain = openssl.BIO_push(buffer, openssl.BIO_new_socket(fd, 0));
    openssl.SSL_set_bio(ssl, chain, chain);
    return new TlsSession(ssl, this.role);
  }

  /** Frees the context and forgets the key. Idempotent. No handshake may be running. */
  free(): void {
    if (this.#freed) return;
    this.#freed = true;
    openssl.SSL_CTX_free(this.#context);
    koffi.unregister(this.#callback);
    this.#key.fill(0);
  }
}

/** What a handshake waits for. */
export type HandshakeStep = 'done' | 'wants-read' | 'wants-write';

/** A TLS session during its handshake. */
export class TlsSession {
  readonly #ssl: Address;
  readonly #role: 'client' | 'server';
  #taken = false;

  constructor(ssl: Address, role: 'client' | 'server') {
    this.#ssl = ssl;
    this.#role = role;
  }

  /** Goes on with the handshake as far as the socket lets it. StreamError 'tls' when the peer does not have the key. */
  step(): HandshakeStep {
    const result = this.#role === 'client' ? openssl.SSL_connect(this.#ssl) : openssl.SSL_accept(this.#ssl);
    if (result === 1) {
      if (openssl.SSL_session_reused(this.#ssl) !== 1) {
        throw new StreamError('tls', 'TLS handshake: the peer did not use the pre-shared key.');
      }
      return 'done';
    }
    const error = openssl.SSL_get_error(this.#ssl, result);
    const raw = openssl.BIO_next(openssl.SSL_get_rbio(this.#ssl));
    if (openssl.BIO_number_read(raw) > HANDSHAKE_MAX_BYTES) {
      throw new StreamError('tls', `TLS handshake: more than ${HANDSHAKE_MAX_BYTES} bytes.`);
    }
    if (error === openssl.SSL_ERROR_WANT_READ) return 'wants-read';
    if (error === openssl.SSL_ERROR_WANT_WRITE) return 'wants-write';
    throw new StreamError('tls', `TLS handshake: ${openssl.takeErrors() || 'the other side closed the connection'}.`);
  }

  /** Blocks until the handshake is done; `patience.silenceMs` bounds all of it. The socket must be blocking (by slices). */
  handshake(patience: Patience): void {
    const since = performance.now();
    while (this.step() !== 'done') patience.slice(since, 'of the TLS handshake finished');
  }

  /** The SSL object, to go on with in this or another thread by `new TlsStream`. The session is no longer this object's. */
  take(): Address {
    this.#taken = true;
    return this.#ssl;
  }

  /** Frees what was not taken. Idempotent. */
  free(): void {
    if (this.#taken) return;
    this.#taken = true;
    openssl.SSL_free(this.#ssl);
  }
}

/** Encrypted stream over a blocking socket after the handshake. */
export class TlsStream implements ByteStream {
  readonly fd: number;
  readonly #ssl: Address;
  readonly #buffer: Address;
  readonly #socket: Address;
  readonly #patience: Patience;
  #open = true;
  #broken = false;
  #wireIn = 0;
  #wireOut = 0;

  /** Takes ownership of the socket and of the SSL object (TlsSession.take). */
  constructor(fd: number, ssl: Address, patience: Patience) {
    this.fd = fd;
    this.#ssl = ssl;
    this.#patience = patience;
    this.#buffer = openssl.SSL_get_rbio(ssl);
    this.#socket = openssl.BIO_next(this.#buffer);
  }

  get wireIn(): number {
    if (this.#open) this.#wireIn = Number(openssl.BIO_number_read(this.#socket));
    return this.#wireIn;
  }

  get wireOut(): number {
    if (this.#open) this.#wireOut = Number(openssl.BIO_number_written(this.#socket));
    return this.#wireOut;
  }

  readExact(address: Address, bytes: number): void {
    let since = 0;
    for (let done = 0; done < bytes; ) {
      // One call returns at most one record, 16 KiB.
      const got = openssl.SSL_read(this.#ssl, address + done, bytes - done);
      if (got > 0) {
        done += got;
        since = 0;
        this.#patience.check();
      } else {
        since ||= performance.now();
        this.#waited(got, since, 'arrived');
      }
    }
  }

  write(address: Address, bytes: number): void {
    let since = 0;
    while (bytes > 0) {
      // Without SSL_MODE_ENABLE_PARTIAL_WRITE a positive result means all of it.
      const result = openssl.SSL_write(this.#ssl, address, bytes);
      if (result > 0) return;
      since ||= performance.now();
      this.#waited(result, since, 'could be sent');
    }
  }

  flush(): void {
    let since = 0;
    while (openssl.BIO_ctrl(this.#buffer, openssl.BIO_CTRL_FLUSH, 0, 0) <= 0) {
      const errno = lastErrno();
      if (openssl.BIO_test_flags(this.#buffer, openssl.BIO_FLAGS_SHOULD_RETRY) === 0) {
        this.#broken = true;
        openssl.takeErrors();
        throw new SysError(errno, 'write', undefined, 'to a TLS connection');
      }
      since ||= performance.now();
      this.#patience.slice(since, 'could be sent');
    }
  }

  close(): void {
    if (!this.#open) return;
    // The counters stay readable.
    this.#wireIn = this.wireIn;
    this.#wireOut = this.wireOut;
    this.#open = false;
    if (!this.#broken) {
      // Says that this end is deliberate; whether it arrives does not matter, so that it is tried once and not waited for.
      openssl.SSL_shutdown(this.#ssl);
      openssl.BIO_ctrl(this.#buffer, openssl.BIO_CTRL_FLUSH, 0, 0);
      openssl.takeErrors();
    }
    openssl.SSL_free(this.#ssl);
    shutdownSocket(this.fd);
    closeSocket(this.fd);
  }

  #waited(result: number, since: number, what: string): void {
    const errno = lastErrno();
    const error = openssl.SSL_get_error(this.#ssl, result);
    if (error === openssl.SSL_ERROR_WANT_READ || error === openssl.SSL_ERROR_WANT_WRITE) {
      this.#patience.slice(since, what);
      return;
    }
    this.#broken = true;
    if (error === openssl.SSL_ERROR_ZERO_RETURN) {
      throw new StreamError('closed', 'The other side closed the connection.');
    }
    const text = openssl.takeErrors();
    // OpenSSL 3 reports an end without close_notify as SSL_ERROR_SSL with 'unexpected eof'.
    if (text.includes('unexpected eof')) throw new StreamError('closed', 'The other side broke the connection off.');
    if (error === openssl.SSL_ERROR_SYSCALL && errno !== 0) throw new SysError(errno, 'TLS connection');
    if (error === openssl.SSL_ERROR_SYSCALL)
      throw new StreamError('closed', 'The other side broke the connection off.');
    throw new StreamError('tls', `TLS: ${text || `error ${error}`}.`);
  }
}
