/** virConnect*: one connection. All functions block on the calling thread; see library.ts. */
import { bind, type ConnectPtr, check, type Out } from './library.ts';

const virConnectOpen: (uri: string) => ConnectPtr | null = bind('void *virConnectOpen(const char *uri)');
const virConnectClose: (conn: ConnectPtr) => number = bind('int virConnectClose(void *conn)');
const virConnectIsAlive: (conn: ConnectPtr) => number = bind('int virConnectIsAlive(void *conn)');
const virConnectGetType: (conn: ConnectPtr) => string | null = bind('const char *virConnectGetType(void *conn)');
const virConnectGetHostname: (conn: ConnectPtr) => string | null = bind('char *! virConnectGetHostname(void *conn)');
const virConnectGetLibVersion: (conn: ConnectPtr, version: Out<number>) => number = bind(
  'int virConnectGetLibVersion(void *conn, _Out_ unsigned long *version)',
);
const virConnectGetCapabilities: (conn: ConnectPtr) => string | null = bind(
  'char *! virConnectGetCapabilities(void *conn)',
);
const virConnectGetDomainCapabilities: (
  conn: ConnectPtr,
  emulator: string | null,
  arch: string | null,
  machine: string | null,
  virtType: string | null,
  flags: number,
) => string | null = bind(
  'char *! virConnectGetDomainCapabilities(void *conn, const char *emulator, const char *arch, const char *machine, const char *virtType, unsigned int flags)',
);

/** Opens a connection; the caller owns it and gives it back with `close`. */
export const open = (uri: string): ConnectPtr => check('virConnectOpen', virConnectOpen(uri));

/** Drops one reference; objects that are still held keep the connection open until they are freed. */
export const close = (conn: ConnectPtr): void => {
  virConnectClose(conn);
};

/** Is the socket still open as far as the client has noticed? Asks nothing of the other side. */
export const isAlive = (conn: ConnectPtr): boolean => virConnectIsAlive(conn) === 1;

/** Name of the hypervisor driver on the other side, for example `QEMU` or `TEST`. libvirt owns the C string. */
export const type = (conn: ConnectPtr): string => check('virConnectGetType', virConnectGetType(conn));

export const hostname = (conn: ConnectPtr): string => check('virConnectGetHostname', virConnectGetHostname(conn));

/** Version of the other side's libvirt: major * 1,000,000 + minor * 1,000 + release. Asks the other side. */
export function libVersion(conn: ConnectPtr): number {
  const out: Out<number> = [0];
  check('virConnectGetLibVersion', virConnectGetLibVersion(conn, out));
  return out[0];
}

/** Capabilities XML. */
export const capabilities = (conn: ConnectPtr): string =>
  check('virConnectGetCapabilities', virConnectGetCapabilities(conn));

/** Domain capabilities XML of the default emulator for this architecture, machine and domain type. */
export const domainCapabilities = (conn: ConnectPtr, arch: string, machine: string, virtType: string): string =>
  check('virConnectGetDomainCapabilities', virConnectGetDomainCapabilities(conn, null, arch, machine, virtType, 0));
