/** The formats whose free space is understood. */
import { btrfsFree } from './btrfs.ts';
import { ext4Free } from './ext4.ts';
import { ntfsFree } from './ntfs.ts';
import type { FreeSpace } from './ranges.ts';
import type { Claimant } from './signatures.ts';
import type { StructureSource } from './source.ts';
import { swapFree } from './swap.ts';
import { xfsFree } from './xfs.ts';

export interface FileSystemReader extends Claimant {
  /**
   * Free space of the file system in [start, end) of the source, or undefined when there is none of this format. Inconsistent:
   * there is one, not to be trusted. It reads through the source only, holds bounded memory, and ends on any content.
   */
  free(source: StructureSource, start: number, end: number): FreeSpace | undefined;
}

/** An area is believed when exactly one of these claims it and no mark of another format stands in it. */
export const READERS: readonly FileSystemReader[] = [
  { format: 'Btrfs', ownsStart: false, free: btrfsFree },
  { format: 'ext4', ownsStart: false, free: ext4Free },
  { format: 'NTFS', ownsStart: true, free: ntfsFree },
  { format: 'swap', ownsStart: false, free: swapFree },
  { format: 'XFS', ownsStart: true, free: xfsFree },
];
