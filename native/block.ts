/** Block devices and regular files by address: exact reads and writes, zeroing, flush. Blocking; each thread opens its own. */
import { constants } from 'node:fs';
import koffi, { type KoffiFunc } from 'koffi';
import { lastErrno, lastError, SysError } from './errors.ts';
import { type Address, Memory } from './memory.ts';

const process_ = koffi.load(null);
/** Returns a descriptor that the caller owns until close. */
const open = process_.func('int open(const char *path, int flags, int mode)') as KoffiFunc<
  (path: string, flags: number, mode: number) => number
>;
const close = process_.func('int close(int fd)') as KoffiFunc<(fd: number) => number>;
/** Fills caller's memory during the call. */
const pread = process_.func('intptr_t pread(int fd, uintptr_t into, size_t bytes, int64_t offset)') as KoffiFunc<
  (fd: number, into: Address, bytes: number, offset: number) => number
>;
/** Reads caller's memory during the call; with O_DIRECT the device reads it, and is done when the call returns. */
const pwrite = process_.func('intptr_t pwrite(int fd, uintptr_t from, size_t bytes, int64_t offset)') as KoffiFunc<
  (fd: number, from: Address, bytes: number, offset: number) => number
>;
const fdatasync = process_.func('int fdatasync(int fd)') as KoffiFunc<(fd: number) => number>;
const lseek = process_.func('int64_t lseek(int fd, int64_t offset, int whence)') as KoffiFunc<
  (fd: number, offset: number, whence: number) => number
>;
/** The third argument is a typed array that the call fills or reads; koffi pins it for the call. */
const ioctl = process_.func('int ioctl(int fd, unsigned long request, void *argument)') as KoffiFunc<
  (fd: number, request: number, argument: NodeJS.TypedArray | null) => number
>;
const fallocate = process_.func('int fallocate(int fd, int mode, int64_t offset, int64_t bytes)') as KoffiFunc<
  (fd: number, mode: number, offset: number, bytes: number) => number
>;
const fadvise = process_.func('int posix_fadvise(int fd, int64_t offset, int64_t bytes, int advice)') as KoffiFunc<
  (fd: number, offset: number, bytes: number, advice: number) => number
>;

// <linux/fs.h>, <linux/falloc.h>, <fcntl.h>: the same numbers on x86-64 and arm64. O_DIRECT differs and comes from Node.
const O_CLOEXEC = 0o2000000;
const BLKGETSIZE64 = 0x80081272;
const BLKSSZGET = 0x1268;
const BLKFLSBUF = 0x1261;
const BLKZEROOUT = 0x127f;
const FALLOC_PUNCH_HOLE_KEEP_SIZE = 0x02 | 0x01;
const POSIX_FADV_DONTNEED = 4;
const SEEK_END = 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
/** Direct I/O on regular files needs at least this alignment, bytes. */
const FILE_SECTOR_BYTES = 512;
/** One write of zeros where nothing better works, bytes. */
const ZERO_WRITE_BYTES = 1024 * 1024;

const UNSUPPORTED = new Set(['EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'EINVAL', 'ENOTTY', 'ENODEV']);

export interface OpenOptions {
  write: boolean;
  /** O_DIRECT: addresses, offsets and lengths must then be multiples of `logicalSectorBytes`. */
  direct: boolean;
}

/**
 * An open block device or regular file. Owned by the thread that opened it; `close` ends it. Errors are SysError with errno.
 * Addresses are native memory of the caller, used during the call only.
 */
export class BlockDevice {
  readonly path: string;
  readonly sizeBytes: number;
  readonly logicalSectorBytes: number;
  readonly isBlockDevice: boolean;
  /** False when `direct` was asked for a regular file that cannot have it. Block devices always have it. */
  readonly direct: boolean;
  #fd: number;

  private constructor(fd: number, path: string, direct: boolean) {
    this.#fd = fd;
    this.path = path;
    this.direct = direct;
    const size = new BigUint64Array(1);
    // Only block devices answer this; everything else says ENOTTY or EINVAL.
    this.isBlockDevice = ioctl(fd, BLKGETSIZE64, size) === 0;
    if (this.isBlockDevice) {
      const sector = new Int32Array(1);
      if (ioctl(fd, BLKSSZGET, sector) !== 0) throw lastError('ioctl BLKSSZGET', path);
      this.sizeBytes = Number(size[0]);
      this.logicalSectorBytes = sector[0] ?? FILE_SECTOR_BYTES;
    } else {
      const end = lseek(fd, 0, SEEK_END);
      if (end < 0) throw lastError('lseek', path);
      this.sizeBytes = end;
      this.logicalSectorBytes = FILE_SECTOR_BYTES;
    }
  }

  /**
   * Opens `path`. A regular file on a file system without direct I/O, or whose size is not whole sectors, is opened
   * without it, and `direct` says so; a block device never is.
   */
  static open(path: string, options: OpenOptions): BlockDevice {
    const flags = (options.write ? constants.O_RDWR : constants.O_RDONLY) | O_CLOEXEC;
    if (options.direct) {
      const direct = BlockDevice.#tryOpen(path, flags | constants.O_DIRECT, true);
      if (direct && (direct.isBlockDevice || direct.sizeBytes % direct.logicalSectorBytes === 0)) return direct;
      direct?.close();
    }
    const device = BlockDevice.#tryOpen(path, flags, false);
    if (!device) throw new SysError(22, 'open', path);
    if (options.direct && device.isBlockDevice) {
      device.close();
      throw new SysError(22, 'open', path, 'with O_DIRECT');
    }
    return device;
  }

  /** Undefined on EINVAL, which open(2) gives for O_DIRECT where the file system has none. */
  static #tryOpen(path: string, flags: number, direct: boolean): BlockDevice | undefined {
    const fd = open(path, flags, 0);
    if (fd < 0) {
      const error = lastError('open', path);
      if (direct && error.code === 'EINVAL') return undefined;
      throw error;
    }
    try {
      return new BlockDevice(fd, path, direct);
    } catch (error) {
      close(fd);
      throw error;
    }
  }

  /** Reads exactly `bytes` bytes at `offset`. An end before that is an error (EIO): a disk does not become shorter. */
  preadFull(address: Address, bytes: number, offset: number): void {
    let done = 0;
    while (done < bytes) {
      const got = pread(this.#fd, address + done, bytes - done, offset + done);
      if (got < 0) {
        if (lastErrno() === koffi.os.errno.EINTR) continue;
        throw lastError('pread', this.path, `at ${offset + done}`);
      }
      if (got === 0) throw new SysError(5, 'pread', this.path, `at ${offset + done} ended early`);
      done += got;
    }
  }

  /** Writes exactly `bytes` bytes at `offset`. What is written counts only after `flush`. */
  pwriteFull(address: Address, bytes: number, offset: number): void {
    let done = 0;
    while (done < bytes) {
      const put = pwrite(this.#fd, address + done, bytes - done, offset + done);
      if (put < 0) {
        if (lastErrno() === koffi.os.errno.EINTR) continue;
        throw lastError('pwrite', this.path, `at ${offset + done}`);
      }
      if (put === 0) throw new SysError(28, 'pwrite', this.path, `at ${offset + done}`);
      done += put;
    }
  }

  /** Returns after all completed writes are on stable storage, those of other descriptors of the same device too. */
  flush(): void {
    if (fdatasync(this.#fd) !== 0) throw lastError('fdatasync', this.path);
  }

  /**
   * Deallocates a range so that it reads as zeros, which the kernel guarantees for this call, unlike for a discard.
   * False when the device or file system has no such thing; nothing was changed then.
   */
  punchHole(offset: number, bytes: number): boolean {
    while (fallocate(this.#fd, FALLOC_PUNCH_HOLE_KEEP_SIZE, offset, bytes) !== 0) {
      const error = lastError('fallocate', this.path, `at ${offset}`);
      if (error.code === 'EINTR') continue;
      if (UNSUPPORTED.has(error.code)) return false;
      throw error;
    }
    return true;
  }

  /** Makes a range read as zeros, by the cheapest way that the device has: hole, the device's own zeroing, writes. */
  zeroRange(offset: number, bytes: number): void {
    if (bytes === 0) return;
    if (offset < 0 || offset + bytes > this.sizeBytes) throw new SysError(22, 'zeroRange', this.path, `at ${offset}`);
    if (this.punchHole(offset, bytes)) return;
    if (this.isBlockDevice) {
      if (ioctl(this.#fd, BLKZEROOUT, new BigUint64Array([BigInt(offset), BigInt(bytes)])) === 0) return;
      const error = lastError('ioctl BLKZEROOUT', this.path, `at ${offset}`);
      if (!UNSUPPORTED.has(error.code)) throw error;
    }
    this.#writeZeros(offset, bytes);
  }

  #writeZeros(offset: number, bytes: number): void {
    const zeros = new Memory(Math.min(bytes, ZERO_WRITE_BYTES));
    try {
      for (let done = 0; done < bytes; ) {
        const step = Math.min(ZERO_WRITE_BYTES, bytes - done);
        this.pwriteFull(zeros.address, step, offset + done);
        done += step;
      }
    } finally {
      zeros.free();
    }
  }

  /** Flushes and forgets the kernel's cached pages of this device, so that the next read comes from the device. */
  dropCaches(): void {
    this.flush();
    if (this.isBlockDevice && ioctl(this.#fd, BLKFLSBUF, null) !== 0) throw lastError('ioctl BLKFLSBUF', this.path);
    const errno = fadvise(this.#fd, 0, 0, POSIX_FADV_DONTNEED);
    // posix_fadvise returns the error itself and leaves errno alone.
    if (errno !== 0) throw new SysError(errno, 'posix_fadvise', this.path);
  }

  /**
   * Ranges that a regular file has no content for, which read as zeros, in order. None where the file system cannot tell, and of a block
   * device: its content is whatever it answers. SysError when the question itself fails.
   */
  *holes(): Generator<{ start: number; end: number }> {
    if (this.isBlockDevice) return;
    for (let at = 0; at < this.sizeBytes; ) {
      const start = this.#seek(at, SEEK_HOLE);
      if (start === undefined || start >= this.sizeBytes) return;
      const end = Math.min(this.sizeBytes, this.#seek(start, SEEK_DATA) ?? this.sizeBytes);
      if (end <= start) return;
      yield { start, end };
      at = end;
    }
  }

  /** Undefined where there is nothing of that kind behind `from` (ENXIO), or the file system knows no such question. */
  #seek(from: number, whence: number): number | undefined {
    const found = lseek(this.#fd, from, whence);
    if (found >= 0) return found;
    const error = lastError('lseek', this.path, `from ${from}`);
    if (error.code === 'ENXIO' || UNSUPPORTED.has(error.code)) return undefined;
    throw error;
  }

  /** Closes. Idempotent. */
  close(): void {
    if (this.#fd < 0) return;
    close(this.#fd);
    this.#fd = -1;
  }
}
