/** The calling thread's priority among all I/O of the machine. */
import koffi, { type KoffiFunc } from 'koffi';
import { lastError } from './errors.ts';

/** glibc and musl have no ioprio_set; the call takes numbers only. */
const syscall = koffi.load(null).func('long syscall(long number, long which, long who, long value)') as KoffiFunc<
  (number: number, which: number, who: number, value: number) => number
>;

// <linux/ioprio.h>, and the system call's number by architecture.
const SYS_IOPRIO_SET: Readonly<Partial<Record<NodeJS.Architecture, number>>> = { x64: 251, arm64: 30 };
const IOPRIO_WHO_PROCESS = 1;
const CLASS_SHIFT = 13;
const CLASS_BEST_EFFORT = 2;
const CLASS_IDLE = 3;
const BEST_EFFORT_DEFAULT = 4;
const BEST_EFFORT_LOWEST = 7;

const VALUES = {
  normal: (CLASS_BEST_EFFORT << CLASS_SHIFT) | BEST_EFFORT_DEFAULT,
  low: (CLASS_BEST_EFFORT << CLASS_SHIFT) | BEST_EFFORT_LOWEST,
  idle: CLASS_IDLE << CLASS_SHIFT,
} as const;

/**
 * Sets it for reads that this thread begins from now on. Whether the disk's scheduler heeds it is the kernel's business (bfq does,
 * mq-deadline in part, none does not). SysError with errno.
 */
export function setIoPriority(priority: keyof typeof VALUES): void {
  const number = SYS_IOPRIO_SET[process.arch];
  if (number === undefined) throw new Error(`ioprio_set has no known number on ${process.arch}`);
  // 0: the calling thread.
  if (syscall(number, IOPRIO_WHO_PROCESS, 0, VALUES[priority]) !== 0) throw lastError('ioprio_set');
}
