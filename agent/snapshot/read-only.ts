/** Marks the source's disks read-only in the kernel, so that nothing on this machine can write to them, not even by mistake. */
import { RehostError } from '../../appliance/api/errors.ts';
import { markReadOnly } from '../../native/block-control.ts';
import type { BlockDisk } from '../inventory/block-devices.ts';

const GONE = new Set(['ENOENT', 'ENXIO', 'ENODEV', 'ENOMEDIUM']);

/** Marks the disks and each of their partitions. SNAPSHOT_REFUSED when the kernel does not do it: the agent must not go on then. */
export function protectDisks(disks: readonly BlockDisk[]): void {
  for (const device of disks.flatMap((disk) => [disk, ...disk.partitions])) {
    try {
      markReadOnly(`/dev/${device.name}`);
    } catch (cause) {
      // Pulled out, or emptied, since it was listed.
      if (GONE.has((cause as NodeJS.ErrnoException).code ?? '')) continue;
      throw new RehostError(
        'SNAPSHOT_REFUSED',
        `'${device.name}' cannot be marked read-only: ${(cause as Error).message}.`,
        { cause },
      );
    }
  }
}
