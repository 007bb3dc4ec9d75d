/** virStoragePool*, virStorageVol*: pools and volumes by name. No handle outlives a call; all functions block. See library.ts. */
import koffi from 'koffi';
import {
  bind,
  type ConnectPtr,
  check,
  listAll,
  type Out,
  type PoolPtr,
  type StreamPtr,
  type VolumePtr,
  withHandle,
} from './library.ts';

/** struct _virStoragePoolInfo: filled by libvirt, copied into a JS object by koffi. Sizes in bytes. */
koffi.struct('virStoragePoolInfo', {
  state: 'int',
  capacity: 'uint64_t',
  allocation: 'uint64_t',
  available: 'uint64_t',
});
/** struct _virStorageVolInfo. */
koffi.struct('virStorageVolInfo', { type: 'int', capacity: 'uint64_t', allocation: 'uint64_t' });

/** virStoragePoolState and sizes, bytes. */
export interface PoolInfo {
  state: number;
  capacity: number;
  allocation: number;
  available: number;
}
/** virStorageVolType and sizes, bytes. */
export interface VolumeInfo {
  type: number;
  capacity: number;
  allocation: number;
}

const virStoragePoolFree: (pool: PoolPtr) => number = bind('int virStoragePoolFree(void *pool)');
const virStorageVolFree: (vol: VolumePtr) => number = bind('int virStorageVolFree(void *vol)');
const virStoragePoolLookupByName: (conn: ConnectPtr, name: string) => PoolPtr | null = bind(
  'void *virStoragePoolLookupByName(void *conn, const char *name)',
);
const virConnectListAllStoragePools: (conn: ConnectPtr, out: Out<bigint | null>, flags: number) => number = bind(
  'int virConnectListAllStoragePools(void *conn, _Out_ void **pools, unsigned int flags)',
);
const virStoragePoolGetName: (pool: PoolPtr) => string | null = bind('const char *virStoragePoolGetName(void *pool)');
const virStoragePoolGetInfo: (pool: PoolPtr, info: PoolInfo) => number = bind(
  'int virStoragePoolGetInfo(void *pool, _Out_ virStoragePoolInfo *info)',
);
const virStoragePoolRefresh: (pool: PoolPtr, flags: number) => number = bind(
  'int virStoragePoolRefresh(void *pool, unsigned int flags)',
);
const virStoragePoolListAllVolumes: (pool: PoolPtr, out: Out<bigint | null>, flags: number) => number = bind(
  'int virStoragePoolListAllVolumes(void *pool, _Out_ void **vols, unsigned int flags)',
);
const virStorageVolLookupByName: (pool: PoolPtr, name: string) => VolumePtr | null = bind(
  'void *virStorageVolLookupByName(void *pool, const char *name)',
);
const virStorageVolGetName: (vol: VolumePtr) => string | null = bind('const char *virStorageVolGetName(void *vol)');
const virStorageVolGetPath: (vol: VolumePtr) => string | null = bind('char *! virStorageVolGetPath(void *vol)');
const virStorageVolGetInfo: (vol: VolumePtr, info: VolumeInfo) => number = bind(
  'int virStorageVolGetInfo(void *vol, _Out_ virStorageVolInfo *info)',
);
const virStorageVolGetXMLDesc: (vol: VolumePtr, flags: number) => string | null = bind(
  'char *! virStorageVolGetXMLDesc(void *vol, unsigned int flags)',
);
const virStorageVolCreateXML: (pool: PoolPtr, xml: string, flags: number) => VolumePtr | null = bind(
  'void *virStorageVolCreateXML(void *pool, const char *xml, unsigned int flags)',
);
const virStorageVolCreateXMLFrom: (pool: PoolPtr, xml: string, from: VolumePtr, flags: number) => VolumePtr | null =
  bind('void *virStorageVolCreateXMLFrom(void *pool, const char *xml, void *clonevol, unsigned int flags)');
const virStorageVolDelete: (vol: VolumePtr, flags: number) => number = bind(
  'int virStorageVolDelete(void *vol, unsigned int flags)',
);
type Transfer = (vol: VolumePtr, stream: StreamPtr, offset: number, length: number, flags: number) => number;
const virStorageVolUpload: Transfer = bind(
  'int virStorageVolUpload(void *vol, void *stream, unsigned long long offset, unsigned long long length, unsigned int flags)',
);
const virStorageVolDownload: Transfer = bind(
  'int virStorageVolDownload(void *vol, void *stream, unsigned long long offset, unsigned long long length, unsigned int flags)',
);

function withPool<T>(conn: ConnectPtr, name: string, use: (pool: PoolPtr) => T): T {
  const pool = check('virStoragePoolLookupByName', virStoragePoolLookupByName(conn, name));
  return withHandle(pool, virStoragePoolFree, use);
}

function withVolume<T>(conn: ConnectPtr, pool: string, name: string, use: (vol: VolumePtr) => T): T {
  return withPool(conn, pool, (handle) => {
    const vol = check('virStorageVolLookupByName', virStorageVolLookupByName(handle, name));
    return withHandle(vol, virStorageVolFree, use);
  });
}

/** Names of all pools that match virConnectListAllStoragePoolsFlags (0: all). */
export const listPools = (conn: ConnectPtr, flags: number): string[] =>
  listAll(
    'virConnectListAllStoragePools',
    (out) => virConnectListAllStoragePools(conn, out, flags),
    virStoragePoolFree,
    (pool: PoolPtr) => check('virStoragePoolGetName', virStoragePoolGetName(pool)),
  );

export const poolInfo = (conn: ConnectPtr, name: string): PoolInfo =>
  withPool(conn, name, (pool) => {
    const info: PoolInfo = { state: 0, capacity: 0, allocation: 0, available: 0 };
    check('virStoragePoolGetInfo', virStoragePoolGetInfo(pool, info));
    return info;
  });

/** Reads the pool's free space and volumes anew. libvirt then probes the format of every volume from its content. */
export const refreshPool = (conn: ConnectPtr, name: string): void =>
  withPool(conn, name, (pool) => {
    check('virStoragePoolRefresh', virStoragePoolRefresh(pool, 0));
  });

/** Names of a pool's volumes, as of its last refresh. */
export const listVolumes = (conn: ConnectPtr, pool: string): string[] =>
  withPool(conn, pool, (handle) =>
    listAll(
      'virStoragePoolListAllVolumes',
      (out) => virStoragePoolListAllVolumes(handle, out, 0),
      virStorageVolFree,
      (vol: VolumePtr) => check('virStorageVolGetName', virStorageVolGetName(vol)),
    ),
  );

/** Path on the hypervisor's host. */
export const volumePath = (conn: ConnectPtr, pool: string, name: string): string =>
  withVolume(conn, pool, name, (vol) => check('virStorageVolGetPath', virStorageVolGetPath(vol)));

export const volumeInfo = (conn: ConnectPtr, pool: string, name: string): VolumeInfo =>
  withVolume(conn, pool, name, (vol) => {
    const info: VolumeInfo = { type: 0, capacity: 0, allocation: 0 };
    check('virStorageVolGetInfo', virStorageVolGetInfo(vol, info));
    return info;
  });

/** Volume XML. Its format and capacity may be probed from the content, which a guest wrote: not to be trusted for raw volumes. */
export const volumeXml = (conn: ConnectPtr, pool: string, name: string): string =>
  withVolume(conn, pool, name, (vol) => check('virStorageVolGetXMLDesc', virStorageVolGetXMLDesc(vol, 0)));

/** Makes a volume; flags are virStorageVolCreateFlags. */
export const createVolume = (conn: ConnectPtr, pool: string, definition: string, flags: number): void =>
  withPool(conn, pool, (handle) => {
    virStorageVolFree(check('virStorageVolCreateXML', virStorageVolCreateXML(handle, definition, flags)));
  });

/** Makes a volume and fills it from another one of any pool; blocks until the host has copied it. */
export const cloneVolume = (
  conn: ConnectPtr,
  pool: string,
  definition: string,
  fromPool: string,
  from: string,
  flags: number,
): void =>
  withVolume(conn, fromPool, from, (source) =>
    withPool(conn, pool, (handle) => {
      const made = check('virStorageVolCreateXMLFrom', virStorageVolCreateXMLFrom(handle, definition, source, flags));
      virStorageVolFree(made);
    }),
  );

export const deleteVolume = (conn: ConnectPtr, pool: string, name: string, flags: number): void =>
  withVolume(conn, pool, name, (vol) => {
    check('virStorageVolDelete', virStorageVolDelete(vol, flags));
  });

/** Connects a stream to `length` bytes of a volume from `offset` (0: to its end) for writing; flags are virStorageVolUploadFlags. */
export const upload = (
  conn: ConnectPtr,
  pool: string,
  name: string,
  stream: StreamPtr,
  length: number,
  flags: number,
): void =>
  withVolume(conn, pool, name, (vol) => {
    check('virStorageVolUpload', virStorageVolUpload(vol, stream, 0, length, flags));
  });

/** Connects a stream to the first `length` bytes of a volume (0: all) for reading; flags are virStorageVolDownloadFlags. */
export const download = (
  conn: ConnectPtr,
  pool: string,
  name: string,
  stream: StreamPtr,
  length: number,
  flags: number,
): void =>
  withVolume(conn, pool, name, (vol) => {
    check('virStorageVolDownload', virStorageVolDownload(vol, stream, 0, length, flags));
  });
