/** Ties a helper process to its owner. */
import koffi from 'koffi';

/** prctl(2): the signal that this process gets when the thread that made it ends. */
const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

/**
 * Ends this process with its owner, also when the owner is killed and while a call into libvirt blocks. The channel's end is
 * watched too: its end is how an owner closes a helper, and `last` runs before the process ends then. Thread: the main thread,
 * once, at start.
 */
export function dieWithOwner(last: () => void): void {
  const libc = koffi.load('libc.so.6');
  const prctl: (option: number, a: number, b: number, c: number, d: number) => number = libc.func(
    'int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)',
  );
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) !== 0) throw new Error(`prctl: errno ${koffi.errno()}`);
  process.once('disconnect', () => {
    last();
    process.exit(0);
  });
}
