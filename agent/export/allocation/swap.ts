/** Linux swap space: only its first page means anything on a machine that is switched off and not hibernated. */
import { type FreeSpace, RangeBuilder } from './ranges.ts';
import type { StructureSource } from './source.ts';

const PAGE = 4096;
const SIGNATURE = 'SWAPSPACE2';
const VERSION = 1;

/**
 * The free part of a swap partition [start, end), or undefined when it is none. A hibernated system replaces the
 * signature (S1SUSPEND, S2SUSPEND, LINHIB0001, ULSUSPEND), so that its image is never taken for free.
 */
export function swapFree(source: StructureSource, start: number, end: number): FreeSpace | undefined {
  if (end - start < 10 * PAGE) return undefined;
  const page = source.read(start, PAGE);
  if (page.toString('latin1', PAGE - SIGNATURE.length) !== SIGNATURE) return undefined;
  // union swap_header of <linux/swap.h>: 1024 boot bytes, version, last_page.
  if (page.readUInt32LE(1024) !== VERSION) return undefined;
  const swapEnd = start + (page.readUInt32LE(1028) + 1) * PAGE;
  if (swapEnd > end || swapEnd <= start + PAGE) return undefined;
  const free = new RangeBuilder();
  free.add(start + PAGE, swapEnd);
  return { end: swapEnd, free: free.finish() };
}
