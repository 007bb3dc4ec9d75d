/**
 * Volumes. libvirt probes a volume's format and capacity from its content, which a guest wrote, whenever it refreshes it: what it
 * says of a raw volume is not believed. The format is what the name says (names.ts), the size of a raw volume what its file has.
 */
import { stat } from 'node:fs/promises';
import { VIR_ERR } from '../../../native/libvirt/error.ts';
import { RehostError } from '../../api/errors.ts';
import type { VolumeFacts, VolumeRef } from '../driver.ts';
import { checkName, checkVolume, checkVolumeName, formatOf } from './names.ts';
import type { LibvirtSession } from './session.ts';
import { add, attributeOf, parse, root, serialize, textOf } from './xml.ts';

/** virStorageVolType: what a VM can have as a disk. */
const STORED_AS: ReadonlyMap<number, 'file' | 'block'> = new Map([
  [0, 'file'],
  [1, 'block'],
]);

const label = ({ pool, name }: { pool: string; name: string }): string => `${name} of pool ${pool}`;

/** A volume as a VM's disk needs it. */
export interface StoredVolume extends VolumeFacts {
  storedAs: 'file' | 'block';
}

/** NOT_FOUND when there is none. */
export async function storedVolume(session: LibvirtSession, volume: VolumeRef): Promise<StoredVolume> {
  checkVolume(volume);
  const facts = await requireVolume(session, volume.pool, volume.name);
  const { type } = await session.ask(
    `The volume ${label(volume)} could not be read`,
    'volumeInfo',
    volume.pool,
    volume.name,
  );
  const storedAs = STORED_AS.get(type);
  if (storedAs !== undefined) return { ...facts, storedAs };
  throw new RehostError('HYPERVISOR_REFUSED', `The volume ${label(volume)} is neither a file nor a block device.`);
}

/** Undefined where the pool has no such volume. */
export async function findVolume(
  session: LibvirtSession,
  pool: string,
  name: string,
): Promise<VolumeFacts | undefined> {
  checkVolumeName(pool, name);
  const what = `The volume ${label({ pool, name })} could not be read`;
  const text = await session.askUnless(VIR_ERR.NO_STORAGE_VOL, what, 'volumeXml', pool, name);
  if (text === undefined) return undefined;
  const xml = parse(text);
  const bytes = (element: string): number | undefined => {
    const value = textOf(xml, element);
    return value === undefined ? undefined : Number(value);
  };
  const format = formatOf(name);
  const capacityBytes = (format === 'raw' ? bytes('physical') : undefined) ?? bytes('capacity');
  const path = textOf(xml, 'target', 'path');
  if (capacityBytes === undefined || path === undefined) {
    throw new RehostError('HYPERVISOR_REFUSED', `${what}: it has no path or no size.`);
  }
  const modifiedAt = textOf(xml, 'target', 'timestamps', 'mtime');
  return {
    pool,
    name,
    format,
    path,
    capacityBytes,
    allocationBytes: bytes('allocation') ?? 0,
    ...(modifiedAt === undefined ? {} : { modifiedAt }),
  };
}

export async function listVolumes(session: LibvirtSession, pool: string): Promise<string[]> {
  checkName('storage pool', pool);
  return await session.ask(`The volumes of pool ${pool} could not be listed`, 'volumeList', pool);
}

export async function createVolume(
  session: LibvirtSession,
  volume: VolumeRef,
  capacityBytes: number,
  backing?: VolumeFacts,
): Promise<VolumeFacts> {
  checkVolume(volume);
  checkCapacity(capacityBytes);
  const xml = describe(volume, capacityBytes, backing);
  await session.ask(`The volume ${label(volume)} could not be made`, 'volumeCreate', volume.pool, xml, 0);
  return await requireVolume(session, volume.pool, volume.name);
}

export async function createOverlay(
  session: LibvirtSession,
  overlay: VolumeRef,
  backing: VolumeRef,
): Promise<VolumeFacts> {
  checkVolume(overlay);
  checkVolume(backing);
  const below = await requireVolume(session, backing.pool, backing.name);
  return await createVolume(session, overlay, below.capacityBytes, below);
}

export async function deleteVolume(session: LibvirtSession, pool: string, name: string): Promise<void> {
  checkVolumeName(pool, name);
  const what = `The volume ${label({ pool, name })} could not be removed`;
  await session.askUnless(VIR_ERR.NO_STORAGE_VOL, what, 'volumeDelete', pool, name, 0);
}

/** Writes a local file to the volume's beginning and reads it back. NOT_FOUND, POOL_TOO_SMALL, TARGET_WRITE_FAILED. */
export async function uploadVolume(session: LibvirtSession, volume: VolumeRef, localPath: string): Promise<void> {
  checkVolume(volume);
  const what = `The volume ${label(volume)} could not be filled`;
  const bytes = await sizeOf(localPath);
  const { capacityBytes } = await requireVolume(session, volume.pool, volume.name);
  if (bytes > capacityBytes) {
    throw new RehostError('REQUEST_INVALID', `${what}: ${bytes} bytes do not fit into its ${capacityBytes} bytes.`);
  }
  const result = await session.askAside(what, 'volumeUpload', volume.pool, volume.name, localPath);
  if (result.sentSha256 === result.storedSha256) return;
  throw new RehostError('TARGET_WRITE_FAILED', `${what}: it reads back differently from what was written.`);
}

/**
 * A full copy. The host copies raw to raw only while it takes the source for raw itself: once content that looks like another
 * format was probed, the host would interpret it, backing file included. Then the stored bytes go through the appliance.
 */
export async function cloneVolume(session: LibvirtSession, from: VolumeRef, to: VolumeRef): Promise<VolumeFacts> {
  checkVolume(from);
  checkVolume(to);
  const source = await requireVolume(session, from.pool, from.name);
  const what = `The volume ${label(from)} could not be copied to ${label(to)}`;
  // libvirt has no number of its own for this refusal here.
  if ((await findVolume(session, to.pool, to.name)) !== undefined) {
    throw new RehostError('NAME_TAKEN', `${what}: that one exists already.`);
  }
  if (await probedAs(session, from)) {
    const xml = describe(to, source.capacityBytes);
    await session.askAside(what, 'volumeClone', to.pool, xml, from.pool, from.name, 0);
    // Asked again: the host may have probed anew in between.
    if (await probedAs(session, from)) return await requireVolume(session, to.pool, to.name);
    await deleteVolume(session, to.pool, to.name);
  }
  if (to.format !== from.format) {
    throw new RehostError('HYPERVISOR_REFUSED', `${what}: its content looks like another format and is not converted.`);
  }
  await createVolume(session, to, source.capacityBytes);
  try {
    await session.askAside(what, 'volumeCopyStored', from, to);
  } catch (error) {
    await deleteVolume(session, to.pool, to.name);
    throw error;
  }
  return await requireVolume(session, to.pool, to.name);
}

/** Does the host take the volume for what it is? */
async function probedAs(session: LibvirtSession, volume: VolumeRef): Promise<boolean> {
  const what = `The volume ${label(volume)} could not be read`;
  const xml = parse(await session.ask(what, 'volumeXml', volume.pool, volume.name));
  return attributeOf(xml, ['target', 'format'], 'type') === volume.format;
}

async function requireVolume(session: LibvirtSession, pool: string, name: string): Promise<VolumeFacts> {
  const facts = await findVolume(session, pool, name);
  if (facts !== undefined) return facts;
  throw new RehostError('NOT_FOUND', `There is no volume ${label({ pool, name })}.`);
}

function describe(volume: VolumeRef, capacityBytes: number, backing?: VolumeFacts): string {
  const xml = root('volume');
  add(xml, 'name', {}, volume.name);
  add(xml, 'capacity', { unit: 'bytes' }, String(capacityBytes));
  add(xml, 'allocation', { unit: 'bytes' }, '0');
  add(add(xml, 'target'), 'format', { type: volume.format });
  if (backing !== undefined) {
    const below = add(xml, 'backingStore');
    add(below, 'path', {}, backing.path);
    add(below, 'format', { type: backing.format });
  }
  return serialize(xml);
}

function checkCapacity(bytes: number): void {
  if (Number.isSafeInteger(bytes) && bytes > 0) return;
  throw new RehostError('REQUEST_INVALID', `capacityBytes: ${bytes} is not a positive whole number.`);
}

async function sizeOf(path: string): Promise<number> {
  const found = await stat(path).catch((error: unknown) => {
    throw new RehostError('NOT_FOUND', `The file ${path} cannot be read.`, { cause: error });
  });
  if (found.isFile()) return found.size;
  throw new RehostError('REQUEST_INVALID', `${path} is not a file.`);
}
