/** Finds this VM's disks by the serial that the hypervisor gave them. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { RehostError } from '../appliance/api/errors.ts';

/** Page 0x80 of a SCSI disk's vital product data: four bytes of header, then the serial (SPC-4, 7.8.18). */
const VPD_HEADER_BYTES = 4;
const POLL_MS = 200;

export interface FoundDisk {
  /** Device node. */
  path: string;
}

/** Finds a disk by serial: in the image by looking at /sys. Undefined where there is none (yet). */
export type FindDisk = (serial: string) => FoundDisk | undefined;

/** Looks at the disks that the kernel has now. PROTOCOL_VIOLATION when two carry the serial. */
export function findBySerial(serial: string): FoundDisk | undefined {
  const names = readdirSync('/sys/block').filter((name) => serialOf(name) === serial);
  if (names.length > 1)
    throw new RehostError('PROTOCOL_VIOLATION', `The disks ${names.join(', ')} all carry the serial '${serial}'.`);
  const [name] = names;
  return name === undefined ? undefined : { path: `/dev/${name}` };
}

/**
 * Waits until the disk is there and can be opened: hot-plugging takes the kernel a moment.
 * TIMEOUT after `deadlineMs`, JOB_CANCELLED when `signal` fires.
 */
export async function waitForDisk(
  find: FindDisk,
  serial: string,
  deadlineMs: number,
  signal?: AbortSignal,
): Promise<FoundDisk> {
  const end = performance.now() + deadlineMs;
  for (;;) {
    if (signal?.aborted) throw new RehostError('JOB_CANCELLED', `Stopped while waiting for the disk '${serial}'.`);
    const found = find(serial);
    if (found && existsSync(found.path)) return found;
    if (performance.now() > end)
      throw new RehostError('TIMEOUT', `No disk with the serial '${serial}' appeared within ${deadlineMs} ms.`, {
        next: "Check the hypervisor's log: the disk was to be attached to the transfer VM.",
      });
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function serialOf(name: string): string | undefined {
  const page = read(`/sys/block/${name}/device/vpd_pg80`);
  // virtio-blk says it beside the disk.
  const text = page?.subarray(VPD_HEADER_BYTES) ?? read(`/sys/block/${name}/serial`);
  return text?.toString('latin1').replaceAll('\0', '').trim();
}

function read(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    // Not every kind of disk has the attribute, and a disk may leave while it is looked at.
    return undefined;
  }
}
