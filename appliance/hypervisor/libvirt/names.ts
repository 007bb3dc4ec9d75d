/** Names from outside, checked before they reach libvirt: they become parts of paths and documents on the hypervisor. */
import { RehostError } from '../../api/errors.ts';
import type { DiskSpec, NicSpec, Owner, VmSpec, VolumeRef } from '../driver.ts';

/** The same rule as the API's GivenName. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
/** Volumes may be longer: they carry a job's id and a disk's name beside a given name. */
const VOLUME_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,126}$/;
/** What libvirt's schema and QEMU both take as a serial, without spaces. */
const SERIAL = /^[A-Za-z0-9._+-]{1,36}$/;
/** virtio-blk hands out 20 bytes (VIRTIO_BLK_ID_BYTES). */
const VIRTIO_SERIAL_MAX = 20;
const MAC = /^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/;
const JOB_ID = /^[a-z0-9]{6,24}$/;
/** What XML 1.0 cannot carry, and line breaks. */
const CONTROL_CHARACTERS = /\p{Cc}/u;
/** COMMAND_LINE_SIZE of x86 Linux, without the NUL. */
const COMMAND_LINE_MAX = 2047;

/** The end of a qcow2 volume's name, and of no raw one's: the format is known from the name, never from the content. */
const QCOW2_SUFFIX = '.qcow2';

export function checkName(what: string, name: string): void {
  if (!NAME.test(name)) throw new RehostError('NAME_INVALID', `The name of the ${what} is not valid: ${quote(name)}.`);
}

/** A volume's pool and name, and that the name says the format. NAME_INVALID. */
export function checkVolume(volume: VolumeRef): void {
  checkVolumeName(volume.pool, volume.name);
  if (formatOf(volume.name) === volume.format) return;
  throw new RehostError(
    'NAME_INVALID',
    `The volume ${quote(volume.name)} cannot be ${volume.format}: names of qcow2 volumes, and only they, end in ${QCOW2_SUFFIX}.`,
  );
}

export function checkVolumeName(pool: string, name: string): void {
  checkName('storage pool', pool);
  if (!VOLUME_NAME.test(name)) {
    throw new RehostError('NAME_INVALID', `The name of the volume is not valid: ${quote(name)}.`);
  }
}

/** The format that a volume of this name was made with. */
export function formatOf(name: string): VolumeRef['format'] {
  return name.endsWith(QCOW2_SUFFIX) ? 'qcow2' : 'raw';
}

export function checkDisk(disk: DiskSpec): void {
  checkVolume(disk.volume);
  const limit = disk.bus === 'virtio' ? VIRTIO_SERIAL_MAX : 36;
  if (!SERIAL.test(disk.serial) || disk.serial.length > limit) {
    throw new RehostError(
      'REQUEST_INVALID',
      `disk.serial: ${quote(disk.serial)} is not 1 to ${limit} plain characters.`,
    );
  }
  const sector = disk.logicalSectorBytes ?? 512;
  if (sector !== 512 && sector !== 4096) {
    throw new RehostError('REQUEST_INVALID', `disk.logicalSectorBytes: ${sector} is neither 512 nor 4096.`);
  }
}

function checkOwner(owner: Owner): void {
  if (!JOB_ID.test(owner.jobId))
    throw new RehostError('NAME_INVALID', `The job id is not valid: ${quote(owner.jobId)}.`);
}

/** Everything of a VM's description that can be checked without asking the hypervisor. NAME_INVALID, REQUEST_INVALID. */
export function checkVm(spec: VmSpec): void {
  checkName('VM', spec.name);
  checkOwner(spec.owner);
  if (!Number.isSafeInteger(spec.memoryBytes) || spec.memoryBytes < 1024 * 1024) {
    throw new RehostError('REQUEST_INVALID', `memoryBytes: ${spec.memoryBytes} is less than one MiB.`);
  }
  if (!Number.isSafeInteger(spec.cpus) || spec.cpus < 1) {
    throw new RehostError('REQUEST_INVALID', `cpus: ${spec.cpus} is not a positive number.`);
  }
  spec.disks.forEach(checkDisk);
  const serials = new Set(spec.disks.map((disk) => disk.serial));
  if (serials.size !== spec.disks.length) throw new RehostError('REQUEST_INVALID', 'disks: two have the same serial.');
  spec.nics.forEach(checkNic);
  if (spec.kernel === undefined) return;
  checkVolume(spec.kernel.kernel);
  checkVolume(spec.kernel.initrd);
  const { commandLine } = spec.kernel;
  if (CONTROL_CHARACTERS.test(commandLine) || commandLine.length > COMMAND_LINE_MAX) {
    throw new RehostError(
      'REQUEST_INVALID',
      `kernel.commandLine: has control characters or more than ${COMMAND_LINE_MAX}.`,
    );
  }
}

function checkNic(nic: NicSpec): void {
  checkName('network', nic.network);
  if (nic.mac !== undefined && !MAC.test(nic.mac)) {
    throw new RehostError('REQUEST_INVALID', `nic.mac: ${quote(nic.mac)} is not a MAC address.`);
  }
}

/** For messages: bounded, and nothing in it can break a line or a terminal. */
function quote(text: string): string {
  return JSON.stringify(text.slice(0, 80));
}
