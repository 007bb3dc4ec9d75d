/** Whole disks and their partitions as /sys shows them: no device is opened. */
import { devicePath, listNames, readBytes, readCount, readText } from './sysfs.ts';

/** /sys counts in units of 512 bytes whatever the disk's sector size is (Documentation/ABI/stable/sysfs-block). */
const SYSFS_SECTOR_BYTES = 512;
/** The name that the contract allows (DiskName): letters and digits only. */
const NAME = /^[a-z0-9]{1,32}$/;
/** Optical drives, floppies, and the boot and RPMB areas of an eMMC chip. */
const NOT_A_DISK = /^(sr|fd)\d+$|^mmcblk\d+(boot|gp)\d+$|rpmb$/;
/** Page 0x80 of a SCSI disk's vital product data: four bytes of header, then the serial (SPC-4, 7.8.18). */
const VPD_HEADER_BYTES = 4;

export interface BlockPartition {
  name: string;
  number: number;
  startBytes: number;
  sizeBytes: number;
}

export interface BlockDisk {
  name: string;
  sizeBytes: number;
  logicalSectorBytes: number;
  model: string;
  serial: string;
  bus: string;
  rotational: boolean;
  removable: boolean;
  partitions: BlockPartition[];
}

/**
 * The machine's whole disks. Virtual ones (loop, ram, zram, dm, md, nbd) have no device behind them and are left out, as are
 * drives without a medium. `only` names the disks to report instead, of whichever kind.
 */
export function blockDisks(root: string, only?: readonly string[]): BlockDisk[] {
  const names = listNames(root, 'sys/block').filter((name) => NAME.test(name));
  const wanted = only ? names.filter((name) => only.includes(name)) : names.filter((name) => isWholeDisk(root, name));
  return wanted.map((name) => blockDisk(root, name)).filter((disk) => disk.sizeBytes > 0);
}

function isWholeDisk(root: string, name: string): boolean {
  const block = `${root}/sys/block/${name}`;
  // `hidden` is 1 for the paths below an NVMe multipath disk, which have no device node.
  return !NOT_A_DISK.test(name) && devicePath(block, 'device') !== undefined && readText(block, 'hidden') !== '1';
}

/** One disk. Its size is 0 where there is no medium, or no such disk. */
export function blockDisk(root: string, name: string): BlockDisk {
  const block = `${root}/sys/block/${name}`;
  return {
    name,
    sizeBytes: (readCount(block, 'size') ?? 0) * SYSFS_SECTOR_BYTES,
    logicalSectorBytes: readCount(block, 'queue/logical_block_size') ?? SYSFS_SECTOR_BYTES,
    // MMC says `name`; virtio-blk has none.
    model: readText(block, 'device/model') ?? readText(block, 'device/name') ?? '',
    serial: serialOf(block),
    bus: busOf(name, devicePath(block, 'device') ?? ''),
    rotational: readText(block, 'queue/rotational') === '1',
    removable: readText(block, 'removable') === '1',
    partitions: listNames(block).flatMap((child) => {
      const number = readCount(block, child, 'partition');
      if (number === undefined) return [];
      const startBytes = (readCount(block, child, 'start') ?? 0) * SYSFS_SECTOR_BYTES;
      const sizeBytes = (readCount(block, child, 'size') ?? 0) * SYSFS_SECTOR_BYTES;
      return [{ name: child, number, startBytes, sizeBytes }];
    }),
  };
}

function serialOf(block: string): string {
  const page = readBytes(block, 'device/vpd_pg80')?.subarray(VPD_HEADER_BYTES).toString('latin1');
  // NVMe and MMC keep it with the device, virtio-blk with the disk, libata in "t10.ATA     <model>   <serial>".
  const wwid = readText(block, 'device/wwid') ?? '';
  const fromName = wwid.startsWith('t10.ATA') ? (wwid.split(/\s+/).at(-1) ?? '') : '';
  const candidates = [page, readText(block, 'device/serial'), readText(block, 'serial'), fromName];
  return candidates.map((text) => printable(text ?? '')).find((text) => text !== '') ?? '';
}

/** Serials come padded with blanks or NUL bytes, on some sticks with rubbish. */
function printable(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, '').trim();
}

function busOf(name: string, path: string): string {
  if (name.startsWith('nvme')) return 'nvme';
  if (name.startsWith('mmcblk')) return 'mmc';
  if (/\/usb\d+\//.test(path)) return 'usb';
  if (/\/ata\d+\//.test(path)) return 'ata';
  if (name.startsWith('vd')) return 'virtio';
  if (name.startsWith('xvd')) return 'xen';
  return name.startsWith('sd') ? 'scsi' : '';
}
