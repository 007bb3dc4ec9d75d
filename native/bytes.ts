/** Comparing and clearing native memory by address, and finding runs of zeros in it. All calls are synchronous and keep no address. */
import koffi, { type KoffiFunc } from 'koffi';
import type { Address, Memory } from './memory.ts';

const process_ = koffi.load(null);
const memcmp = process_.func('int memcmp(uintptr_t a, uintptr_t b, size_t bytes)') as KoffiFunc<
  (a: Address, b: Address, bytes: number) => number
>;
const memset = process_.func('uintptr_t memset(uintptr_t address, int value, size_t bytes)') as KoffiFunc<
  (address: Address, value: number, bytes: number) => number
>;

/** Sets `bytes` bytes at `address` to zero. */
export function clear(address: Address, bytes: number): void {
  if (bytes > 0) memset(address, 0, bytes);
}

/** Are both ranges of `bytes` bytes the same? */
export function equal(a: Address, b: Address, bytes: number): boolean {
  return bytes === 0 || memcmp(a, b, bytes) === 0;
}

/** Are `length` bytes of `memory` from `start` all zero? Data that is not costs one look at one byte, mostly. */
export function isZero(memory: Memory, start: number, length: number): boolean {
  if (length === 0) return true;
  if (memory.bytes[start] !== 0) return false;
  const address = memory.address + start;
  // A range whose first byte is zero and which equals itself shifted by one is zero throughout.
  return length === 1 || memcmp(address, address + 1, length - 1) === 0;
}

/** A range inside a buffer, bytes. */
export interface Run {
  start: number;
  end: number;
}

/**
 * Runs of zeros of at least one `grain` within memory[start, start + length), in order and not touching. Grains are laid
 * so that `phase` + position is a multiple of `grain`: the caller gives the disk offset of `start` as phase, and zero runs
 * then begin and end on grains of the disk, except at the ends of the range. `grain` is a multiple of 4.
 */
export function zeroRuns(memory: Memory, start: number, length: number, grain: number, phase: number): Run[] {
  const runs: Run[] = [];
  const end = start + length;
  // One call for the common whole zero piece.
  if (isZero(memory, start, length)) return length === 0 ? runs : [{ start, end }];
  let at = start;
  let open: Run | undefined;
  // Only the first grain may be cut; a remainder of numbers beyond 2^31 for each would be a call of fmod.
  let step = grain - (phase % grain);
  while (at < end) {
    const next = Math.min(end, at + step);
    step = grain;
    // The first word decides for nearly all data and costs no call; a view of words needs an aligned position.
    const quick = (at & 3) === 0 && next - at >= 4 && memory.words[at >> 2] !== 0;
    if (!quick && isZero(memory, at, next - at)) {
      if (open) open.end = next;
      else open = { start: at, end: next };
    } else if (open) {
      runs.push(open);
      open = undefined;
    }
    at = next;
  }
  if (open) runs.push(open);
  // An unaligned range's ends may give runs shorter than a grain: not worth a chunk.
  return runs.filter((run) => run.end - run.start >= Math.min(grain, length));
}
