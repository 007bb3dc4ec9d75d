/** What the kernel is told about a block device: that it is read-only, or that its partition table is to be read again. */
import { closeSync, constants, openSync } from 'node:fs';
import koffi, { type KoffiFunc } from 'koffi';
import { lastError } from './errors.ts';

/** The third argument points to an int of the caller's, read during the call. Any thread. */
const ioctl = koffi.load(null).func('int ioctl(int fd, unsigned long request, int *argument)') as KoffiFunc<
  (fd: number, request: number, argument: Int32Array | null) => number
>;

// <linux/fs.h>: _IO(0x12, 93) and _IO(0x12, 95), the same on x86-64 and arm64.
const BLKROSET = 0x125d;
const BLKRRPART = 0x125f;

/**
 * Marks one block device read-only until it goes away or someone marks it writable: writes through any descriptor, old or new,
 * then fail with EPERM. A partition has a mark of its own. SysError with errno.
 */
export function markReadOnly(path: string): void {
  withDevice(path, (fd) => {
    if (ioctl(fd, BLKROSET, new Int32Array([1])) !== 0) throw lastError('ioctl BLKROSET', path);
  });
}

/**
 * Has the kernel read the partition table; all partitions are known when this returns. False for a device that the kernel never
 * looks for partitions on (a loop device, for example). SysError with EBUSY while a partition is in use.
 */
export function rescanPartitions(path: string): boolean {
  return withDevice(path, (fd) => {
    if (ioctl(fd, BLKRRPART, null) === 0) return true;
    const error = lastError('ioctl BLKRRPART', path);
    if (error.code === 'EINVAL' || error.code === 'ENOTTY') return false;
    throw error;
  });
}

/** `use` gets a descriptor for the time of its call. */
function withDevice<T>(path: string, use: (fd: number) => T): T {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}
