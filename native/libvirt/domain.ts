/**
 * virDomain*: virtual machines, looked up by name for each call. No domain handle outlives a call. All functions block on the
 * calling thread; see library.ts.
 */
import {
  bind,
  type ConnectPtr,
  check,
  type DomainPtr,
  listAll,
  type Out,
  type StreamPtr,
  withHandle,
} from './library.ts';
import { recv, STREAM_CHUNK_BYTES, withStream } from './stream.ts';

const virDomainFree: (dom: DomainPtr) => number = bind('int virDomainFree(void *dom)');
const virDomainLookupByName: (conn: ConnectPtr, name: string) => DomainPtr | null = bind(
  'void *virDomainLookupByName(void *conn, const char *name)',
);
const virConnectListAllDomains: (conn: ConnectPtr, out: Out<bigint | null>, flags: number) => number = bind(
  'int virConnectListAllDomains(void *conn, _Out_ void **domains, unsigned int flags)',
);
const virDomainGetName: (dom: DomainPtr) => string | null = bind('const char *virDomainGetName(void *dom)');
const virDomainGetState: (dom: DomainPtr, state: Out<number>, reason: Out<number>, flags: number) => number = bind(
  'int virDomainGetState(void *dom, _Out_ int *state, _Out_ int *reason, unsigned int flags)',
);
const virDomainGetXMLDesc: (dom: DomainPtr, flags: number) => string | null = bind(
  'char *! virDomainGetXMLDesc(void *dom, unsigned int flags)',
);
const virDomainGetMetadata: (dom: DomainPtr, type: number, uri: string, flags: number) => string | null = bind(
  'char *! virDomainGetMetadata(void *dom, int type, const char *uri, unsigned int flags)',
);
const virDomainDefineXMLFlags: (conn: ConnectPtr, xml: string, flags: number) => DomainPtr | null = bind(
  'void *virDomainDefineXMLFlags(void *conn, const char *xml, unsigned int flags)',
);
const virDomainCreateWithFlags: (dom: DomainPtr, flags: number) => number = bind(
  'int virDomainCreateWithFlags(void *dom, unsigned int flags)',
);
const virDomainResume: (dom: DomainPtr) => number = bind('int virDomainResume(void *dom)');
const virDomainSuspend: (dom: DomainPtr) => number = bind('int virDomainSuspend(void *dom)');
const virDomainDestroyFlags: (dom: DomainPtr, flags: number) => number = bind(
  'int virDomainDestroyFlags(void *dom, unsigned int flags)',
);
const virDomainUndefineFlags: (dom: DomainPtr, flags: number) => number = bind(
  'int virDomainUndefineFlags(void *dom, unsigned int flags)',
);
const virDomainShutdownFlags: (dom: DomainPtr, flags: number) => number = bind(
  'int virDomainShutdownFlags(void *dom, unsigned int flags)',
);
type DeviceCall = (dom: DomainPtr, xml: string, flags: number) => number;
const virDomainAttachDeviceFlags: DeviceCall = bind(
  'int virDomainAttachDeviceFlags(void *dom, const char *xml, unsigned int flags)',
);
const virDomainDetachDeviceFlags: DeviceCall = bind(
  'int virDomainDetachDeviceFlags(void *dom, const char *xml, unsigned int flags)',
);
const virDomainUpdateDeviceFlags: DeviceCall = bind(
  'int virDomainUpdateDeviceFlags(void *dom, const char *xml, unsigned int flags)',
);
const virDomainScreenshot: (dom: DomainPtr, stream: StreamPtr, screen: number, flags: number) => string | null = bind(
  'char *! virDomainScreenshot(void *dom, void *stream, unsigned int screen, unsigned int flags)',
);
const virDomainOpenConsole: (dom: DomainPtr, device: null, stream: StreamPtr, flags: number) => number = bind(
  'int virDomainOpenConsole(void *dom, const char *device, void *stream, unsigned int flags)',
);

/** virDomainConsoleFlags: takes the console over from whoever has it open. */
const VIR_DOMAIN_CONSOLE_FORCE = 1;
/** A screenshot larger than this is refused, bytes: an 8K screen as PPM has 100 MB. */
const SCREENSHOT_MAX_BYTES = 128 * 1024 * 1024;

function withDomain<T>(conn: ConnectPtr, name: string, use: (dom: DomainPtr) => T): T {
  const dom = check('virDomainLookupByName', virDomainLookupByName(conn, name));
  return withHandle(dom, virDomainFree, use);
}

/** Names of all domains that match virConnectListAllDomainsFlags (0: all). */
export const list = (conn: ConnectPtr, flags: number): string[] =>
  listAll(
    'virConnectListAllDomains',
    (out) => virConnectListAllDomains(conn, out, flags),
    virDomainFree,
    (dom: DomainPtr) => check('virDomainGetName', virDomainGetName(dom)),
  );

/** virDomainState and the reason for it. */
export const state = (conn: ConnectPtr, name: string): { state: number; reason: number } =>
  withDomain(conn, name, (dom) => {
    const now: Out<number> = [0];
    const reason: Out<number> = [0];
    check('virDomainGetState', virDomainGetState(dom, now, reason, 0));
    return { state: now[0], reason: reason[0] };
  });

/** Domain XML; flags are virDomainXMLFlags. */
export const xml = (conn: ConnectPtr, name: string, flags: number): string =>
  withDomain(conn, name, (dom) => check('virDomainGetXMLDesc', virDomainGetXMLDesc(dom, flags)));

/** Metadata of one virDomainMetadataType (and namespace URI, for elements). */
export const metadata = (conn: ConnectPtr, name: string, type: number, uri: string, flags: number): string =>
  withDomain(conn, name, (dom) => check('virDomainGetMetadata', virDomainGetMetadata(dom, type, uri, flags)));

/** Defines a persistent domain; flags are virDomainDefineFlags. */
export function define(conn: ConnectPtr, definition: string, flags: number): void {
  virDomainFree(check('virDomainDefineXMLFlags', virDomainDefineXMLFlags(conn, definition, flags)));
}

/** Starts a defined domain; flags are virDomainCreateFlags. */
export const create = (conn: ConnectPtr, name: string, flags: number): void =>
  withDomain(conn, name, (dom) => {
    check('virDomainCreateWithFlags', virDomainCreateWithFlags(dom, flags));
  });

export const resume = (conn: ConnectPtr, name: string): void =>
  withDomain(conn, name, (dom) => {
    check('virDomainResume', virDomainResume(dom));
  });

/** Stops the domain's CPUs; it keeps its memory. */
export const suspend = (conn: ConnectPtr, name: string): void =>
  withDomain(conn, name, (dom) => {
    check('virDomainSuspend', virDomainSuspend(dom));
  });

/** Stops a domain at once; flags are virDomainDestroyFlagsValues. */
export const destroy = (conn: ConnectPtr, name: string, flags: number): void =>
  withDomain(conn, name, (dom) => {
    check('virDomainDestroyFlags', virDomainDestroyFlags(dom, flags));
  });

/** Removes the definition; flags are virDomainUndefineFlagsValues. */
export const undefine = (conn: ConnectPtr, name: string, flags: number): void =>
  withDomain(conn, name, (dom) => {
    check('virDomainUndefineFlags', virDomainUndefineFlags(dom, flags));
  });

/** Asks the guest to shut down; returns before it did. Flags are virDomainShutdownFlagValues. */
export const shutdown = (conn: ConnectPtr, name: string, flags: number): void =>
  withDomain(conn, name, (dom) => {
    check('virDomainShutdownFlags', virDomainShutdownFlags(dom, flags));
  });

const onDevice =
  (call: string, native: DeviceCall) => (conn: ConnectPtr, name: string, device: string, flags: number) =>
    withDomain(conn, name, (dom) => {
      check(call, native(dom, device, flags));
    });

/** Adds a device; flags are virDomainDeviceModifyFlags. */
export const attachDevice = onDevice('virDomainAttachDeviceFlags', virDomainAttachDeviceFlags);
/** Asks for a device's removal: the guest may still hold it when this returns. */
export const detachDevice = onDevice('virDomainDetachDeviceFlags', virDomainDetachDeviceFlags);
/** Changes a device in place. */
export const updateDevice = onDevice('virDomainUpdateDeviceFlags', virDomainUpdateDeviceFlags);

/** The screen as the hypervisor gives it, with its MIME type. */
export const screenshot = (conn: ConnectPtr, name: string): { mimeType: string; image: Uint8Array } =>
  withDomain(conn, name, (dom) =>
    withStream(conn, (stream) => {
      const mimeType = check('virDomainScreenshot', virDomainScreenshot(dom, stream, 0, 0));
      const pieces: Uint8Array[] = [];
      let total = 0;
      for (;;) {
        const buffer = new Uint8Array(STREAM_CHUNK_BYTES);
        const got = recv(stream, buffer);
        if (got === 0) return { mimeType, image: new Uint8Array(Buffer.concat(pieces, total)) };
        total += got;
        if (total > SCREENSHOT_MAX_BYTES)
          throw new RangeError(`a screenshot of more than ${SCREENSHOT_MAX_BYTES} bytes`);
        pieces.push(buffer.subarray(0, got));
      }
    }),
  );

/**
 * Reads the first serial console until it ends, blocking. `opened` is called once the console is held, `data` for each piece;
 * the piece is valid during that call only.
 */
export const readConsole = (
  conn: ConnectPtr,
  name: string,
  opened: () => void,
  data: (piece: Uint8Array) => void,
): void =>
  withDomain(conn, name, (dom) =>
    withStream(conn, (stream) => {
      check('virDomainOpenConsole', virDomainOpenConsole(dom, null, stream, VIR_DOMAIN_CONSOLE_FORCE));
      opened();
      const buffer = new Uint8Array(4096);
      for (let got = recv(stream, buffer); got > 0; got = recv(stream, buffer)) data(buffer.subarray(0, got));
    }),
  );
