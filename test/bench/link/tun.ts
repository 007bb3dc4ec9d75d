/** Point-to-point interfaces whose packets a process carries: Linux's TUN devices, with offloads, so that packets are large. */
import koffi, { type KoffiFunc } from 'koffi';
import { lastErrno, lastError } from '../../../native/errors.ts';
import type { Address } from '../../../native/memory.ts';

const process_ = koffi.load(null);
const open = process_.func('int open(const char *path, int flags, int mode)') as KoffiFunc<
  (path: string, flags: number, mode: number) => number
>;
const ioctl = process_.func('int ioctl(int fd, unsigned long request, void *argument)') as KoffiFunc<
  (fd: number, request: number, argument: Uint8Array) => number
>;
/** The same call with a number in the pointer's place. */
const ioctlNumber = process_.func('int ioctl(int fd, unsigned long request, uintptr_t argument)') as KoffiFunc<
  (fd: number, request: number, argument: number) => number
>;
const read = process_.func('intptr_t read(int fd, uintptr_t into, size_t bytes)') as KoffiFunc<
  (fd: number, into: Address, bytes: number) => number
>;
const write = process_.func('intptr_t write(int fd, uintptr_t from, size_t bytes)') as KoffiFunc<
  (fd: number, from: Address, bytes: number) => number
>;
/** `fds` and `timeout` are read during the call. */
const ppoll = process_.func('int ppoll(void *fds, unsigned long count, void *timeout, void *mask)') as KoffiFunc<
  (fds: Int32Array, count: number, timeout: BigInt64Array, mask: null) => number
>;

// <linux/if_tun.h>, <fcntl.h>, <poll.h>.
const O_RDWR_NONBLOCK_CLOEXEC = 0o2 | 0o4000 | 0o2000000;
const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const IFF_TUN_NO_PI_VNET_HDR = 0x0001 | 0x1000 | 0x4000;
/** Checksums and TCP segmentation over IPv4 are left to whoever needs them: nobody, here. */
const TUN_F_CSUM_TSO4 = 0x01 | 0x02;
const POLLIN = 0x001;
const EAGAIN = 11;
const EBADFD = 77;
/** A packet of 64 KiB and the virtio_net_hdr before it, bytes. */
export const PACKET_MAX_BYTES = 65536 + 64;

/** Makes an interface of this name (at most 15 characters); it lives as long as the descriptor, in whatever namespace it is moved to. */
export function openTun(name: string): number {
  const fd = open('/dev/net/tun', O_RDWR_NONBLOCK_CLOEXEC, 0);
  if (fd < 0) throw lastError('open', '/dev/net/tun');
  // struct ifreq: 16 bytes of name, then the flags.
  const request = new Uint8Array(40);
  request.set(Buffer.from(name, 'latin1'));
  new DataView(request.buffer).setUint16(16, IFF_TUN_NO_PI_VNET_HDR, true);
  if (ioctl(fd, TUNSETIFF, request) !== 0) throw lastError('ioctl TUNSETIFF', name);
  if (ioctlNumber(fd, TUNSETOFFLOAD, TUN_F_CSUM_TSO4) !== 0) throw lastError('ioctl TUNSETOFFLOAD', name);
  return fd;
}

/** The next packet that the kernel sends into the interface; 0 when there is none, undefined when the interface is gone. */
export function readPacket(fd: number, into: Address): number | undefined {
  const got = read(fd, into, PACKET_MAX_BYTES);
  if (got >= 0) return got;
  if (lastErrno() === EBADFD) return undefined;
  if (lastErrno() === EAGAIN || lastErrno() === koffi.os.errno.EINTR) return 0;
  throw lastError('read', 'tun');
}

/** Gives a packet to the kernel as if it came in by the interface. One that it does not take is lost, as on any link. */
export function writePacket(fd: number, from: Address, bytes: number): void {
  write(fd, from, bytes);
}

/** Waits until a packet is there to be read, at most so long, ms (with fractions). */
export function awaitPackets(fds: readonly number[], timeoutMs: number): void {
  const wanted = new Int32Array(2 * fds.length);
  fds.forEach((fd, index) => {
    wanted[2 * index] = fd;
    wanted[2 * index + 1] = POLLIN;
  });
  const nanoseconds = BigInt(Math.max(0, Math.round(timeoutMs * 1e6)));
  const timeout = new BigInt64Array([nanoseconds / 1_000_000_000n, nanoseconds % 1_000_000_000n]);
  if (ppoll(wanted, fds.length, timeout, null) < 0 && lastErrno() !== koffi.os.errno.EINTR) throw lastError('ppoll');
}
