/** Opening a source disk, and seeing that it is still the one that the job began with. */
import { RehostError } from '../../appliance/api/errors.ts';
import { SysError } from '../../native/errors.ts';
import type { AllocationMap } from './allocation/map.ts';
import type { MannerlyReads } from './manners.ts';
import { DiskReader } from './reader.ts';
import type { ExportDisk } from './shared.ts';

/** Opens the disk for one connection; the caller closes it. SOURCE_CHANGED when its size differs, SOURCE_READ_FAILED when it cannot be opened. */
export function openDisk(disk: ExportDisk, map: AllocationMap, manners?: MannerlyReads): DiskReader {
  let reader: DiskReader;
  try {
    reader = new DiskReader(disk.path, map, manners);
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    throw new RehostError('SOURCE_READ_FAILED', `Disk '${disk.disk}' cannot be opened: ${error.message}.`, {
      cause: error,
    });
  }
  if (reader.device.sizeBytes !== disk.sizeBytes) {
    const { sizeBytes } = reader.device;
    reader.close();
    throw new RehostError(
      'SOURCE_CHANGED',
      `Disk '${disk.disk}' has ${sizeBytes} bytes now; the job began with ${disk.sizeBytes}.`,
    );
  }
  return reader;
}
