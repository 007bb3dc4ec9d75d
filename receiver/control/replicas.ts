/** From the serials of an order to this VM's disks. */
import type { CopyDisk } from '../../appliance/api/control.ts';
import { RehostError } from '../../appliance/api/errors.ts';
import { type FindDisk, waitForDisk } from '../block-serials.ts';

/** The disks were there when this VM started; their drivers may still be at work, ms. */
const APPEAR_DEADLINE_MS = 20_000;

export interface Replica {
  /** Export name: the source disk's name. */
  disk: string;
  path: string;
  sizeBytes: number;
}

/** The device of each disk, in the order given. TIMEOUT when one does not appear, REQUEST_INVALID when one is too small. */
export async function findReplicas(disks: readonly CopyDisk[], find: FindDisk): Promise<Replica[]> {
  const replicas: Replica[] = [];
  for (const { disk, serial, sizeBytes } of disks) {
    const found = await waitForDisk(find, serial, APPEAR_DEADLINE_MS);
    if (found.sizeBytes < sizeBytes)
      throw new RehostError(
        'REQUEST_INVALID',
        `The replica '${serial}' has ${found.sizeBytes} bytes; the disk '${disk}' has ${sizeBytes}.`,
      );
    replicas.push({ disk, path: found.path, sizeBytes });
  }
  return replicas;
}
