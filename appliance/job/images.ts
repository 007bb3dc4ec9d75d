/** The transfer image on a pool: uploaded once per content, shared by all jobs. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { RehostError } from '../api/errors.ts';
import type { HypervisorDriver, VolumeRef } from '../hypervisor/driver.ts';
import { imageVolume } from './names.ts';
import { Queue } from './queue.ts';

const FILES = { kernel: 'vmlinuz', initrd: 'initrd' } as const;
const MARKER_BYTES = 512;
/** Two jobs never upload the same image to a hypervisor at once; one that hangs holds up no other hypervisor. */
const uploads = new WeakMap<HypervisorDriver, Queue>();

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

async function ensurePart(
  driver: HypervisorDriver,
  pool: string,
  imageDir: string,
  part: keyof typeof FILES,
): Promise<VolumeRef> {
  const path = join(imageDir, 'transfer', FILES[part]);
  const size = await stat(path).then(
    (facts) => facts.size,
    (cause: unknown) => {
      throw new RehostError('IMAGE_MISSING', `There is no transfer image at ${path}.`, { cause });
    },
  );
  const volume = imageVolume(pool, part, await sha256(path));
  // The marker is made after the upload: an image volume without it was cut short and is made anew.
  const marker = { pool, name: volume.name.replace(/\.raw$/, '.complete'), format: 'raw' } as const;
  if ((await driver.findVolume(pool, marker.name)) && (await driver.findVolume(pool, volume.name))) return volume;
  await driver.deleteVolume(pool, marker.name);
  await driver.deleteVolume(pool, volume.name);
  await driver.createVolume(volume, size);
  await driver.uploadVolume(volume, path);
  await driver.createVolume(marker, MARKER_BYTES);
  return volume;
}

/** Kernel and initramfs of the transfer image as volumes of this pool. IMAGE_MISSING, or the driver's error. */
export async function ensureTransferImage(
  driver: HypervisorDriver,
  pool: string,
  imageDir: string,
): Promise<{ kernel: VolumeRef; initrd: VolumeRef }> {
  const queue = uploads.get(driver) ?? new Queue();
  uploads.set(driver, queue);
  return await queue.run(async () => ({
    kernel: await ensurePart(driver, pool, imageDir, 'kernel'),
    initrd: await ensurePart(driver, pool, imageDir, 'initrd'),
  }));
}
