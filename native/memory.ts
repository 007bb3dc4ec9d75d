/** Page-aligned memory outside the JS heap: what O_DIRECT, sockets and OpenSSL read and write by address. */
import koffi, { type KoffiFunc } from 'koffi';
import { lastError } from './errors.ts';

/** An address in this process. User addresses have 47 bits, so that a JS number holds them exactly. */
export type Address = number;

// Node is linked with the C library, so that the process itself has its symbols, with glibc and with musl.
const process_ = koffi.load(null);
/** Returns memory that the caller owns until munmap; any thread may use it. */
const mmap = process_.func(
  'intptr_t mmap(uintptr_t address, size_t bytes, int protection, int flags, int fd, int64_t offset)',
) as KoffiFunc<
  (address: Address, bytes: number, protection: number, flags: number, fd: number, offset: number) => number
>;
/** Ends the lifetime of what mmap returned; no thread may hold an address of it. */
const munmap = process_.func('int munmap(uintptr_t address, size_t bytes)') as KoffiFunc<
  (address: Address, bytes: number) => number
>;
/** Only advice about a mapping; takes no ownership. */
const madvise = process_.func('int madvise(uintptr_t address, size_t bytes, int advice)') as KoffiFunc<
  (address: Address, bytes: number, advice: number) => number
>;

// <sys/mman.h>, the same on every Linux that Node runs on.
const PROT_READ_WRITE = 1 | 2;
const MAP_PRIVATE_ANONYMOUS = 0x02 | 0x20;
const MAP_FAILED = -1;
const MADV_HUGEPAGE = 14;
/** The size of a huge page on x86-64 and arm64, bytes: less memory than that is not made of one. */
const HUGE_BYTES = 2 * 1024 * 1024;

function map(bytes: number): Address {
  const address = mmap(0, bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
  if (address === MAP_FAILED) throw lastError('mmap', undefined, `of ${bytes} bytes`);
  return address;
}

function unmap(address: Address, bytes: number): void {
  if (bytes > 0 && munmap(address, bytes) !== 0) throw lastError('munmap');
}

/** On a border of huge pages, which older kernels do not choose by themselves. */
function mapHuge(bytes: number): Address {
  const start = map(bytes + HUGE_BYTES);
  const address = Math.ceil(start / HUGE_BYTES) * HUGE_BYTES;
  unmap(start, address - start);
  unmap(address + bytes, HUGE_BYTES - (address - start));
  // Advice only: it fails where the kernel has no huge pages, and nothing depends on it.
  madvise(address, bytes, MADV_HUGEPAGE);
  return address;
}

/**
 * One anonymous mapping, zeroed and page-aligned. The creator owns it and frees it; until then every thread of the process
 * may use its address. `bytes` and `view` look at the memory itself: after `free` they are detached and of length 0.
 */
export class Memory {
  readonly address: Address;
  readonly length: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Every fourth byte by number: to look for zero words without a call. Native byte order. */
  readonly words: Int32Array;
  #buffer: ArrayBuffer;
  #freed = false;

  /** Maps at least `length` bytes (rounded up to whole 4 KiB pages). SysError with ENOMEM when there is none. */
  constructor(length: number) {
    const rounded = Math.ceil(Math.max(1, length) / 4096) * 4096;
    this.address = rounded < HUGE_BYTES ? map(rounded) : mapHuge(rounded);
    this.length = rounded;
    this.#buffer = koffi.view(BigInt(this.address), rounded);
    this.bytes = new Uint8Array(this.#buffer);
    this.view = new DataView(this.#buffer);
    this.words = new Int32Array(this.#buffer);
  }

  /** Unmaps. Idempotent. The views are detached first, so that a late use throws or reads nothing instead of crashing. */
  free(): void {
    if (this.#freed) return;
    this.#freed = true;
    this.#buffer.transfer(0);
    unmap(this.address, this.length);
  }
}
