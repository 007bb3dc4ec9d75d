/** The images that the orchestrator hands out. */
import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { RehostError } from './api/errors.ts';
import type { Config } from './config.ts';

const FILES = ['vmlinuz', 'initrd'];

/** IMAGE_MISSING where a transfer image's file, or with network boot an agent image's, cannot be read. */
export async function checkImages(config: Config): Promise<void> {
  const needed = config.pxe ? ['transfer', 'agent'] : ['transfer'];
  for (const path of needed.flatMap((image) => FILES.map((name) => join(config.images, image, name)))) {
    try {
      await access(path, constants.R_OK);
    } catch (cause) {
      throw new RehostError('IMAGE_MISSING', `The image file ${path} cannot be read.`, {
        cause,
        next: "Build the images first ('make images'), or name their folder with --images.",
      });
    }
  }
}
