/** Disks that come and go while a VM exists. */
import { setTimeout as sleep } from 'node:timers/promises';
import { RehostError } from '../../api/errors.ts';
import type { DiskSpec } from '../driver.ts';
import { addDisk, cacheModeOf, diskBySerial, useHostCache } from './disk-xml.ts';
import { checkDisk, checkName } from './names.ts';
import type { LibvirtSession } from './session.ts';
import { isNoDirectIo, ownerOf, vmState } from './vm.ts';
import { storedVolume } from './volumes.ts';
import { type Element, find, parse, serialize } from './xml.ts';

/** virDomainDeviceModifyFlags. */
const AFFECT_LIVE = 1;
const AFFECT_CONFIG = 2;
/** How long a guest may take to let go of a disk, ms. */
const DETACH_DEADLINE_MS = 60_000;
const POLL_MS = 100;

export async function attachDisk(session: LibvirtSession, vm: string, disk: DiskSpec): Promise<void> {
  checkDisk(disk);
  const flags = await modifyFlags(session, vm);
  const what = `The disk ${disk.serial} could not be attached to the VM ${vm}`;
  const devices = await readDevices(session, what, vm);
  if (diskBySerial(devices, disk.serial) !== undefined) {
    throw new RehostError('NAME_TAKEN', `${what}: it has a disk with this serial already.`);
  }
  const owner = await ownerOf(session, vm);
  if (owner === undefined) {
    throw new RehostError('HYPERVISOR_REFUSED', `${what}: it was not made by Rehost.`);
  }
  const element = addDisk(devices, disk, await storedVolume(session, disk.volume), owner.role);
  try {
    await session.ask(what, 'domainAttachDevice', vm, serialize(element), flags);
  } catch (error) {
    if (!isNoDirectIo(error)) throw error;
    useHostCache(element);
    await session.ask(what, 'domainAttachDevice', vm, serialize(element), flags);
  }
}

/** How the VM's disks reach the host's storage. NOT_FOUND when there is no such VM. */
export async function cacheMode(session: LibvirtSession, vm: string): Promise<'none' | 'writeback'> {
  checkName('VM', vm);
  return cacheModeOf(await readDevices(session, `The disks of the VM ${vm} could not be read`, vm));
}

/** libvirt only asks the guest; the disk is gone when the running VM's description no longer has it. No such disk is success. */
export async function detachDisk(session: LibvirtSession, vm: string, serial: string): Promise<void> {
  const flags = await modifyFlags(session, vm);
  const what = `The disk ${serial} could not be detached from the VM ${vm}`;
  const element = diskBySerial(await readDevices(session, what, vm), serial);
  if (element === undefined) return;
  await session.ask(what, 'domainDetachDevice', vm, serialize(element), flags);
  const deadline = Date.now() + DETACH_DEADLINE_MS;
  while (diskBySerial(await readDevices(session, what, vm), serial) !== undefined) {
    if (Date.now() > deadline) throw new RehostError('TIMEOUT', `${what}: the guest did not let go of it.`);
    await sleep(POLL_MS);
  }
}

/** The `<devices>` of a VM as it runs, or as it is defined when it is off. */
export async function readDevices(session: LibvirtSession, what: string, vm: string): Promise<Element> {
  const devices = find(parse(await session.ask(what, 'domainXml', vm, 0)), 'devices');
  if (devices !== undefined) return devices;
  throw new RehostError('HYPERVISOR_REFUSED', `${what}: its description has no devices.`);
}

/** A change holds for the running VM and for its next start. NOT_FOUND when there is no such VM. */
export async function modifyFlags(session: LibvirtSession, vm: string): Promise<number> {
  const state = await vmState(session, vm);
  if (state === 'absent') throw new RehostError('NOT_FOUND', `There is no VM ${vm}.`);
  return state === 'running' || state === 'paused' ? AFFECT_LIVE | AFFECT_CONFIG : AFFECT_CONFIG;
}
