/** virNetwork*, virInterface*: networks of libvirt and interfaces of the host, by name. No handle outlives a call; all functions block. See library.ts. */
import {
  bind,
  type ConnectPtr,
  check,
  type InterfacePtr,
  listAll,
  type NetworkPtr,
  type Out,
  withHandle,
} from './library.ts';

const virNetworkFree: (net: NetworkPtr) => number = bind('int virNetworkFree(void *net)');
const virNetworkLookupByName: (conn: ConnectPtr, name: string) => NetworkPtr | null = bind(
  'void *virNetworkLookupByName(void *conn, const char *name)',
);
const virConnectListAllNetworks: (conn: ConnectPtr, out: Out<bigint | null>, flags: number) => number = bind(
  'int virConnectListAllNetworks(void *conn, _Out_ void **nets, unsigned int flags)',
);
const virNetworkGetName: (net: NetworkPtr) => string | null = bind('const char *virNetworkGetName(void *net)');
const virNetworkIsActive: (net: NetworkPtr) => number = bind('int virNetworkIsActive(void *net)');
const virNetworkGetXMLDesc: (net: NetworkPtr, flags: number) => string | null = bind(
  'char *! virNetworkGetXMLDesc(void *net, unsigned int flags)',
);
const virNetworkDefineXML: (conn: ConnectPtr, xml: string) => NetworkPtr | null = bind(
  'void *virNetworkDefineXML(void *conn, const char *xml)',
);
const virNetworkCreate: (net: NetworkPtr) => number = bind('int virNetworkCreate(void *net)');
const virNetworkSetAutostart: (net: NetworkPtr, on: number) => number = bind(
  'int virNetworkSetAutostart(void *net, int autostart)',
);
const virInterfaceFree: (iface: InterfacePtr) => number = bind('int virInterfaceFree(void *iface)');
const virInterfaceLookupByName: (conn: ConnectPtr, name: string) => InterfacePtr | null = bind(
  'void *virInterfaceLookupByName(void *conn, const char *name)',
);
const virConnectListAllInterfaces: (conn: ConnectPtr, out: Out<bigint | null>, flags: number) => number = bind(
  'int virConnectListAllInterfaces(void *conn, _Out_ void **ifaces, unsigned int flags)',
);
const virInterfaceGetName: (iface: InterfacePtr) => string | null = bind(
  'const char *virInterfaceGetName(void *iface)',
);
const virInterfaceIsActive: (iface: InterfacePtr) => number = bind('int virInterfaceIsActive(void *iface)');
const virInterfaceGetXMLDesc: (iface: InterfacePtr, flags: number) => string | null = bind(
  'char *! virInterfaceGetXMLDesc(void *iface, unsigned int flags)',
);

function withNetwork<T>(conn: ConnectPtr, name: string, use: (net: NetworkPtr) => T): T {
  const net = check('virNetworkLookupByName', virNetworkLookupByName(conn, name));
  return withHandle(net, virNetworkFree, use);
}

/** All networks of libvirt with whether they are active. */
export const listNetworks = (conn: ConnectPtr): { name: string; active: boolean }[] =>
  listAll(
    'virConnectListAllNetworks',
    (out) => virConnectListAllNetworks(conn, out, 0),
    virNetworkFree,
    (net: NetworkPtr) => ({
      name: check('virNetworkGetName', virNetworkGetName(net)),
      active: check('virNetworkIsActive', virNetworkIsActive(net)) === 1,
    }),
  );

export const networkXml = (conn: ConnectPtr, name: string): string =>
  withNetwork(conn, name, (net) => check('virNetworkGetXMLDesc', virNetworkGetXMLDesc(net, 0)));

/** Defines a persistent, inactive network. */
export function defineNetwork(conn: ConnectPtr, definition: string): void {
  virNetworkFree(check('virNetworkDefineXML', virNetworkDefineXML(conn, definition)));
}

/** Starts a defined network. */
export const createNetwork = (conn: ConnectPtr, name: string): void =>
  withNetwork(conn, name, (net) => {
    check('virNetworkCreate', virNetworkCreate(net));
  });

export const autostartNetwork = (conn: ConnectPtr, name: string, on: boolean): void =>
  withNetwork(conn, name, (net) => {
    check('virNetworkSetAutostart', virNetworkSetAutostart(net, on ? 1 : 0));
  });

/** All interfaces of the host, in the network namespace of the daemon. VIR_ERR_NO_SUPPORT without an interface driver. */
export const listInterfaces = (conn: ConnectPtr): { name: string; active: boolean }[] =>
  listAll(
    'virConnectListAllInterfaces',
    (out) => virConnectListAllInterfaces(conn, out, 0),
    virInterfaceFree,
    (iface: InterfacePtr) => ({
      name: check('virInterfaceGetName', virInterfaceGetName(iface)),
      active: check('virInterfaceIsActive', virInterfaceIsActive(iface)) === 1,
    }),
  );

/** Interface XML: `type='bridge'` for a bridge. */
export const interfaceXml = (conn: ConnectPtr, name: string): string => {
  const iface = check('virInterfaceLookupByName', virInterfaceLookupByName(conn, name));
  return withHandle(iface, virInterfaceFree, (handle) =>
    check('virInterfaceGetXMLDesc', virInterfaceGetXMLDesc(handle, 0)),
  );
};
