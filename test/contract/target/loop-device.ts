/** Loop devices for tests: real block devices over files, with direct I/O. They need root. */
import { execFileSync } from 'node:child_process';

export interface LoopDevice {
  readonly path: string;
  /** Detaches. Idempotent. */
  detach(): void;
}

/** Attaches a file. Fails loudly where loop devices cannot be had. */
export function attachLoop(file: string, sectorBytes = 512, readOnly = false): LoopDevice {
  const flags = readOnly ? ['--read-only'] : [];
  const found = execFileSync('losetup', [...flags, '--find', '--show', '--sector-size', String(sectorBytes), file], {
    encoding: 'utf8',
  });
  const path = found.trim();
  // The kernel keeps a read-only mark of the loop device's earlier user.
  if (!readOnly) execFileSync('blockdev', ['--setrw', path]);
  let attached = true;
  return {
    path,
    detach: () => {
      if (attached) execFileSync('losetup', ['--detach', path]);
      attached = false;
    },
  };
}
