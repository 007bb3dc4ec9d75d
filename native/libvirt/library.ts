/**
 * libvirt.so.0, loaded once per process, and how its errors are read. Imported only by the connection processes
 * (`*-worker.ts`): the orchestrator itself never loads libvirt.
 *
 * Thread: every binding here and in its neighbours is a synchronous, blocking call on the calling thread. libvirt keeps
 * the last error per thread, so the error is read on the same thread directly after the call that failed, before any
 * virXFree(), which would reset it.
 *
 * Strings: `const char *` results belong to the object that they came from and are copied into the JS heap by koffi;
 * `char *!` results belong to the caller: koffi copies them and calls free(3).
 */
import koffi from 'koffi';
import { LibvirtError, VIR_ERR } from './error.ts';

/** A pointer to a libvirt object of one kind. Its owner must give it back with that kind's virXFree(). */
type Handle<K extends string> = bigint & { readonly kind: K };
export type ConnectPtr = Handle<'connect'>;
export type DomainPtr = Handle<'domain'>;
export type PoolPtr = Handle<'pool'>;
export type VolumePtr = Handle<'volume'>;
export type StreamPtr = Handle<'stream'>;
export type NetworkPtr = Handle<'network'>;
export type InterfacePtr = Handle<'interface'>;

/** An output parameter: koffi writes what C wrote into the only element. */
export type Out<T> = [T];

const library = koffi.load('libvirt.so.0');

/** Binds one C function. The caller states its TypeScript type; koffi checks the values against the prototype. */
export const bind = (prototype: string) => library.func(prototype);

/** struct _virError (libvirt/virterror.h); libvirt owns it and the strings in it until the thread's next libvirt call. */
const virError = koffi.struct('virError', {
  code: 'int',
  domain: 'int',
  message: 'const char *',
  level: 'int',
  conn: 'void *',
  dom: 'void *',
  str1: 'const char *',
  str2: 'const char *',
  str3: 'const char *',
  int1: 'int',
  int2: 'int',
  net: 'void *',
});

const virGetLastError: () => bigint | null = bind('void *virGetLastError()');
const virSetErrorFunc: (userData: null, handler: bigint) => void = bind(
  'void virSetErrorFunc(void *userData, void *handler)',
);

/**
 * Stops libvirt from printing errors to stderr. The handler is process-wide and lives as long as the process; libvirt calls it
 * on the thread of the failing call, which is the JS thread, since all calls are synchronous.
 */
export function silenceErrors(): void {
  const prototype = koffi.proto('void rehostErrorHandler(void *userData, void *error)');
  virSetErrorFunc(
    null,
    koffi.register(() => undefined, koffi.pointer(prototype)),
  );
}

/** The error of the libvirt call that has just failed on this thread. `lost` is decided by the caller. */
function lastError(call: string): LibvirtError {
  const pointer = virGetLastError();
  if (pointer === null) {
    return new LibvirtError({
      code: 0,
      domain: 0,
      message: `${call} failed without an error`,
      call,
      errno: 0,
      lost: false,
    });
  }
  const { code, domain, message, int1 } = koffi.decode(pointer, virError) as {
    code: number;
    domain: number;
    message: string | null;
    int1: number;
  };
  // virReportSystemError() leaves the errno in int1.
  const errno = code === VIR_ERR.SYSTEM_ERROR ? int1 : 0;
  return new LibvirtError({ code, domain, message: message ?? `${call} failed`, call, errno, lost: false });
}

/** Passes on what a call returned, or throws its error when it is NULL or negative. */
export function check<T>(call: string, result: T | null): T {
  if (result === null || (typeof result === 'number' && result < 0)) throw lastError(call);
  return result;
}

/** Runs `use` with an object and gives the object back afterwards, whatever happened. The error in flight is read before that. */
export function withHandle<H, T>(handle: H, free: (handle: H) => number, use: (handle: H) => T): T {
  try {
    return use(handle);
  } finally {
    free(handle);
  }
}

/**
 * Calls a virConnectListAllX() function and gives each object to `use`, then frees the objects and the array.
 * libvirt allocates the array; the caller owns it and every object in it.
 */
export function listAll<H extends bigint, T>(
  call: string,
  list: (out: Out<bigint | null>) => number,
  free: (handle: H) => number,
  use: (handle: H) => T,
): T[] {
  const out: Out<bigint | null> = [null];
  const count = check(call, list(out));
  const [array] = out;
  if (array === null) return [];
  try {
    const handles = count === 0 ? [] : (koffi.decode(array, 'void *', count) as H[]);
    try {
      return handles.map(use);
    } finally {
      for (const handle of handles) free(handle);
    }
  } finally {
    koffi.free(array);
  }
}
