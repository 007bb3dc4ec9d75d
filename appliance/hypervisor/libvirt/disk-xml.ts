/** A disk of a VM as libvirt describes it. */
import type { DiskSpec, Owner } from '../driver.ts';
import type { StoredVolume } from './volumes.ts';
import { add, children, type Element, find, setAttributes, textOf } from './xml.ts';

/**
 * What QEMU does when the host fails a read or write. The default stops the VM where the pool is full: right for a target VM, which
 * goes on when there is room again. A transfer VM would fall silent by it: its receiver shall get the error and say it.
 */
const ERRORS_TO_THE_GUEST = { error_policy: 'report', rerror_policy: 'report' };

/** Disks of one AHCI controller of q35. */
const SATA_PORTS = 6;

/**
 * Adds a disk to a `<devices>` element. Every address is stated where the bus has one that guests see. Zeroes and discards go
 * through to the file: `discard='unmap'`, and zeroes that a guest writes as data stay data (`detect_zeroes='off'`).
 * I/O by threads: the volumes are sparse, and native AIO blocks QEMU's main loop whenever a block has to be allocated.
 * `role` is that of the VM: it decides who learns of failed reads and writes.
 */
export function addDisk(devices: Element, disk: DiskSpec, volume: StoredVolume, role: Owner['role']): Element {
  const taken = children(devices, 'disk');
  const element = add(devices, 'disk', { type: volume.storedAs, device: 'disk' });
  add(element, 'driver', {
    name: 'qemu',
    type: volume.format,
    cache: 'none',
    io: 'threads',
    ...(role === 'transfer' ? ERRORS_TO_THE_GUEST : {}),
    discard: 'unmap',
    detect_zeroes: 'off',
  });
  add(element, 'source', volume.storedAs === 'file' ? { file: volume.path } : { dev: volume.path });
  add(element, 'target', { dev: freeTarget(taken, disk.bus === 'virtio' ? 'vd' : 'sd'), bus: disk.bus });
  const sector = disk.logicalSectorBytes ?? 512;
  if (sector !== 512) add(element, 'blockio', { logical_block_size: sector, physical_block_size: sector });
  if (disk.readonly === true) add(element, 'readonly');
  add(element, 'serial', {}, disk.serial);
  if (disk.bootOrder !== undefined) add(element, 'boot', { order: disk.bootOrder });
  const address = freeAddress(taken, disk.bus);
  if (address !== undefined) add(element, 'address', { type: 'drive', bus: 0, target: 0, ...address });
  return element;
}

/** A file system without O_DIRECT (ramfs, some network ones): through the host's page cache, the guest's flushes still obeyed. */
export function useHostCache(disk: Element): void {
  const driver = find(disk, 'driver');
  if (driver?.getAttribute('cache') === 'none') setAttributes(driver, { cache: 'writeback' });
}

/** `writeback` where any of these `<devices>`' disks goes through the host's page cache. */
export function cacheModeOf(devices: Element): 'none' | 'writeback' {
  const cached = children(devices, 'disk').some((disk) => find(disk, 'driver')?.getAttribute('cache') !== 'none');
  return cached ? 'writeback' : 'none';
}

export function diskBySerial(devices: Element, serial: string): Element | undefined {
  return children(devices, 'disk').find((disk) => textOf(disk, 'serial') === serial);
}

/** The first free name: sda, sdb, ... sdz, sdaa, ... Names tell libvirt's disks apart; the guest does not see them. */
function freeTarget(taken: Element[], prefix: string): string {
  const names = new Set(taken.map((disk) => find(disk, 'target')?.getAttribute('dev')));
  for (let index = 0; ; index++) {
    const name = `${prefix}${letters(index)}`;
    if (!names.has(name)) return name;
  }
}

function letters(index: number): string {
  const last = String.fromCharCode(0x61 + (index % 26));
  return index < 26 ? last : letters(Math.floor(index / 26) - 1) + last;
}

function freeAddress(taken: Element[], bus: DiskSpec['bus']): { controller: number; unit: number } | undefined {
  if (bus === 'virtio') return undefined;
  const used = new Set(
    taken
      .filter((disk) => find(disk, 'target')?.getAttribute('bus') === bus)
      .map((disk) => find(disk, 'address'))
      .map((address) => `${address?.getAttribute('controller')}:${address?.getAttribute('unit')}`),
  );
  for (let index = 0; ; index++) {
    const at =
      bus === 'sata'
        ? { controller: Math.floor(index / SATA_PORTS), unit: index % SATA_PORTS }
        : { controller: 0, unit: index };
    if (!used.has(`${at.controller}:${at.unit}`)) return at;
  }
}
