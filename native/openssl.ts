/**
 * The few functions of OpenSSL that TLS-PSK needs, from the OpenSSL that Node itself carries (or is linked with): no second
 * copy, no version to match. Pointers are numbers. SSL and BIO objects may move between threads, used by one at a time;
 * the error queue belongs to the thread.
 */
import koffi, { type KoffiFunc } from 'koffi';
import type { Address } from './memory.ts';

const library = koffi.load(null);

/** Static method tables: never freed. */
export const TLS_client_method = library.func('uintptr_t TLS_client_method()') as KoffiFunc<() => Address>;
export const TLS_server_method = library.func('uintptr_t TLS_server_method()') as KoffiFunc<() => Address>;
/** The caller owns the context until SSL_CTX_free; every SSL of it holds a reference of its own. */
export const SSL_CTX_new = library.func('uintptr_t SSL_CTX_new(uintptr_t method)') as KoffiFunc<
  (method: Address) => Address
>;
export const SSL_CTX_free = library.func('void SSL_CTX_free(uintptr_t context)') as KoffiFunc<
  (context: Address) => undefined
>;
export const SSL_CTX_ctrl = library.func(
  'long SSL_CTX_ctrl(uintptr_t context, int command, long number, uintptr_t pointer)',
) as KoffiFunc<(context: Address, command: number, value: number, pointer: Address) => number>;
export const SSL_CTX_set_ciphersuites = library.func(
  'int SSL_CTX_set_ciphersuites(uintptr_t context, const char *names)',
) as KoffiFunc<(context: Address, names: string) => number>;
export const SSL_CTX_set_verify = library.func(
  'void SSL_CTX_set_verify(uintptr_t context, int mode, uintptr_t callback)',
) as KoffiFunc<(context: Address, mode: number, callback: Address) => undefined>;
export const SSL_CTX_set_num_tickets = library.func(
  'int SSL_CTX_set_num_tickets(uintptr_t context, size_t count)',
) as KoffiFunc<(context: Address, count: number) => number>;
/** The callback runs during SSL_connect, on the thread that calls it; it must stay registered while handshakes run. */
export const SSL_CTX_set_psk_client_callback = library.func(
  'void SSL_CTX_set_psk_client_callback(uintptr_t context, void *callback)',
) as KoffiFunc<(context: Address, callback: bigint) => undefined>;
/** The same for SSL_accept. */
export const SSL_CTX_set_psk_server_callback = library.func(
  'void SSL_CTX_set_psk_server_callback(uintptr_t context, void *callback)',
) as KoffiFunc<(context: Address, callback: bigint) => undefined>;

/** The caller owns the SSL until SSL_free, which frees its BIOs as well. */
export const SSL_new = library.func('uintptr_t SSL_new(uintptr_t context)') as KoffiFunc<(context: Address) => Address>;
export const SSL_free = library.func('void SSL_free(uintptr_t ssl)') as KoffiFunc<(ssl: Address) => undefined>;
/** Takes one reference of the BIO where both are the same. */
export const SSL_set_bio = library.func(
  'void SSL_set_bio(uintptr_t ssl, uintptr_t read, uintptr_t write)',
) as KoffiFunc<(ssl: Address, read: Address, write: Address) => undefined>;
export const SSL_get_rbio = library.func('uintptr_t SSL_get_rbio(uintptr_t ssl)') as KoffiFunc<
  (ssl: Address) => Address
>;
export const SSL_connect = library.func('int SSL_connect(uintptr_t ssl)') as KoffiFunc<(ssl: Address) => number>;
export const SSL_accept = library.func('int SSL_accept(uintptr_t ssl)') as KoffiFunc<(ssl: Address) => number>;
/** Fills caller's memory during the call. */
export const SSL_read = library.func('int SSL_read(uintptr_t ssl, uintptr_t into, int bytes)') as KoffiFunc<
  (ssl: Address, into: Address, bytes: number) => number
>;
/** Reads caller's memory; after SSL_ERROR_WANT_* the same call must be repeated with the same arguments. */
export const SSL_write = library.func('int SSL_write(uintptr_t ssl, uintptr_t from, int bytes)') as KoffiFunc<
  (ssl: Address, from: Address, bytes: number) => number
>;
export const SSL_shutdown = library.func('int SSL_shutdown(uintptr_t ssl)') as KoffiFunc<(ssl: Address) => number>;
export const SSL_get_error = library.func('int SSL_get_error(uintptr_t ssl, int result)') as KoffiFunc<
  (ssl: Address, result: number) => number
>;
export const SSL_session_reused = library.func('int SSL_session_reused(uintptr_t ssl)') as KoffiFunc<
  (ssl: Address) => number
>;

/** A BIO is owned by its creator until it is pushed on another or set into an SSL. */
export const BIO_f_buffer = library.func('uintptr_t BIO_f_buffer()') as KoffiFunc<() => Address>;
export const BIO_new = library.func('uintptr_t BIO_new(uintptr_t method)') as KoffiFunc<(method: Address) => Address>;
/** `close` 0: the descriptor stays the caller's. */
export const BIO_new_socket = library.func('uintptr_t BIO_new_socket(int fd, int close)') as KoffiFunc<
  (fd: number, close: number) => Address
>;
export const BIO_push = library.func('uintptr_t BIO_push(uintptr_t upper, uintptr_t lower)') as KoffiFunc<
  (upper: Address, lower: Address) => Address
>;
export const BIO_next = library.func('uintptr_t BIO_next(uintptr_t bio)') as KoffiFunc<(bio: Address) => Address>;
export const BIO_ctrl = library.func(
  'long BIO_ctrl(uintptr_t bio, int command, long number, uintptr_t pointer)',
) as KoffiFunc<(bio: Address, command: number, value: number, pointer: Address) => number>;
export const BIO_int_ctrl = library.func(
  'long BIO_int_ctrl(uintptr_t bio, int command, long number, int integer)',
) as KoffiFunc<(bio: Address, command: number, value: number, integer: number) => number>;
export const BIO_test_flags = library.func('int BIO_test_flags(uintptr_t bio, int flags)') as KoffiFunc<
  (bio: Address, flags: number) => number
>;
export const BIO_number_read = library.func('uint64_t BIO_number_read(uintptr_t bio)') as KoffiFunc<
  (bio: Address) => number
>;
export const BIO_number_written = library.func('uint64_t BIO_number_written(uintptr_t bio)') as KoffiFunc<
  (bio: Address) => number
>;

const ERR_get_error = library.func('unsigned long ERR_get_error()') as KoffiFunc<() => number | bigint>;
const ERR_error_string_n = library.func(
  'void ERR_error_string_n(unsigned long error, void *into, size_t bytes)',
) as KoffiFunc<(error: number | bigint, into: Uint8Array, bytes: number) => undefined>;

// <openssl/ssl.h> and <openssl/bio.h>: part of OpenSSL's stable binary interface.
export const SSL_CTRL_SET_MIN_PROTO_VERSION = 123;
export const TLS1_3_VERSION = 0x0304;
export const SSL_VERIFY_PEER = 1;
export const SSL_ERROR_WANT_READ = 2;
export const SSL_ERROR_WANT_WRITE = 3;
export const SSL_ERROR_SYSCALL = 5;
export const SSL_ERROR_ZERO_RETURN = 6;
export const BIO_CTRL_FLUSH = 11;
export const BIO_C_SET_BUFF_SIZE = 117;
export const BIO_FLAGS_SHOULD_RETRY = 0x08;

/** Takes all errors of this thread's queue as one text; empty when there are none. */
export function takeErrors(): string {
  const texts: string[] = [];
  // The queue holds 16 errors at most.
  for (let i = 0; i < 16; i++) {
    const error = ERR_get_error();
    if (Number(error) === 0) break;
    const text = new Uint8Array(256);
    ERR_error_string_n(error, text, text.length);
    texts.push(Buffer.from(text).toString('latin1').split('\0', 1)[0] ?? '');
  }
  return texts.join('; ');
}
