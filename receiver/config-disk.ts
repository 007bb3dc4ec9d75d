/** Reads this transfer VM's config disk. */
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { type ConfigDisk, decodeConfigDisk } from '../appliance/api/config-disk.ts';
import { CONFIG_DISK_BYTES, CONFIG_DISK_SERIAL } from '../appliance/api/transfer.ts';
import { type FindDisk, waitForDisk } from './block-serials.ts';

/** Disks are found while the image already runs, ms. */
const APPEAR_DEADLINE_MS = 60_000;

/** Waits for the disk with CONFIG_DISK_SERIAL and reads it. TIMEOUT when there is none, REQUEST_INVALID when it holds something else. */
export async function readConfigDisk(find: FindDisk): Promise<ConfigDisk> {
  const { path } = await waitForDisk(find, CONFIG_DISK_SERIAL, APPEAR_DEADLINE_MS);
  const fd = openSync(path, constants.O_RDONLY);
  try {
    const bytes = Buffer.alloc(CONFIG_DISK_BYTES);
    let at = 0;
    for (let got = -1; got !== 0 && at < bytes.length; at += got) got = readSync(fd, bytes, at, bytes.length - at, at);
    return decodeConfigDisk(bytes.subarray(0, at));
  } finally {
    closeSync(fd);
  }
}
