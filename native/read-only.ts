/** The kernel's read-only mark of a block device: writes through any descriptor, old or new, then fail with EPERM, mounts are read-only. */
import { closeSync, constants, openSync } from 'node:fs';
import koffi, { type KoffiFunc } from 'koffi';
import { lastError } from './errors.ts';

/** The third argument points to an int of the caller's, read during the call. Any thread. */
const ioctl = koffi.load(null).func('int ioctl(int fd, unsigned long request, int *argument)') as KoffiFunc<
  (fd: number, request: number, argument: Int32Array) => number
>;

// <linux/fs.h>: _IO(0x12, 93), the same on x86-64 and arm64.
const BLKROSET = 0x125d;

/** Marks one block device read-only until it goes away or someone marks it writable. A partition has a mark of its own. SysError with errno. */
export function markReadOnly(path: string): void {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    if (ioctl(fd, BLKROSET, new Int32Array([1])) !== 0) throw lastError('ioctl BLKROSET', path);
  } finally {
    closeSync(fd);
  }
}
