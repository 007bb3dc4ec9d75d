/**
 * What a connection process can be asked: plain values in, plain values out, no handle crosses the border.
 * The names are libvirt's own nouns. Imported as a value by `connection-worker.ts` only; others import the type.
 */
import { copyStored, uploadFile } from './bulk.ts';
import * as connect from './connect.ts';
import * as domain from './domain.ts';
import type { ConnectPtr } from './library.ts';
import * as network from './network.ts';
import * as storage from './storage.ts';

/** The process's one connection. */
export interface Context {
  conn: ConnectPtr;
  uri: string;
}

/** Makes a function of the bindings callable from outside: the connection is filled in. */
const on =
  <A extends unknown[], R>(native: (conn: ConnectPtr, ...args: A) => R) =>
  ({ conn }: Context, ...args: A): R =>
    native(conn, ...args);

export const CALLS = {
  type: on(connect.type),
  hostname: on(connect.hostname),
  libVersion: on(connect.libVersion),
  capabilities: on(connect.capabilities),
  domainCapabilities: on(connect.domainCapabilities),

  domainList: on(domain.list),
  domainState: on(domain.state),
  domainXml: on(domain.xml),
  domainMetadata: on(domain.metadata),
  domainDefine: on(domain.define),
  domainCreate: on(domain.create),
  domainResume: on(domain.resume),
  domainSuspend: on(domain.suspend),
  domainDestroy: on(domain.destroy),
  domainUndefine: on(domain.undefine),
  domainShutdown: on(domain.shutdown),
  domainAttachDevice: on(domain.attachDevice),
  domainDetachDevice: on(domain.detachDevice),
  domainUpdateDevice: on(domain.updateDevice),
  domainScreenshot: on(domain.screenshot),

  poolList: on(storage.listPools),
  poolInfo: on(storage.poolInfo),
  poolRefresh: on(storage.refreshPool),
  volumeList: on(storage.listVolumes),
  volumePath: on(storage.volumePath),
  volumeInfo: on(storage.volumeInfo),
  volumeXml: on(storage.volumeXml),
  volumeCreate: on(storage.createVolume),
  volumeClone: on(storage.cloneVolume),
  volumeDelete: on(storage.deleteVolume),
  volumeUpload: on(uploadFile),
  volumeCopyStored: (
    { conn, uri }: Context,
    from: { pool: string; name: string },
    to: { pool: string; name: string },
  ): void => copyStored(conn, uri, from, to),

  networkList: on(network.listNetworks),
  networkXml: on(network.networkXml),
  networkDefine: on(network.defineNetwork),
  networkCreate: on(network.createNetwork),
  networkAutostart: on(network.autostartNetwork),
  interfaceList: on(network.listInterfaces),
  interfaceXml: on(network.interfaceXml),
};

type Calls = typeof CALLS;
export type CallName = keyof Calls;
/** Arguments of a call, without the context. */
export type CallArgs<K extends CallName> = Parameters<Calls[K]> extends [Context, ...infer A] ? A : never;
export type CallResult<K extends CallName> = ReturnType<Calls[K]>;
