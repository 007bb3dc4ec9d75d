/** The folders, sources and targets of a bench, and their end. */
import { spawnSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import {
  closeSync,
  constants,
  existsSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { BlockDevice } from '../../native/block.ts';
import { attachLoop } from '../contract/target/loop-device.ts';
import { onExit } from '../lab/cleanup.ts';

export const MIB = 1024 * 1024;
export const GIB = 1024 * MIB;

export interface Settings {
  /** Size of the sources, bytes. */
  bytes: number;
  rounds: number;
  /** The tree of which a file system image is made. */
  tree: string;
}

/** What one workload makes. `close` removes all of it. */
export class Workbench {
  readonly settings: Settings;
  readonly #memory = mkdtempSync('/dev/shm/rehost-bench-');
  readonly #disk = mkdtempSync(join(tmpdir(), 'rehost-bench-'));
  readonly #detach: (() => void)[] = [];
  readonly #close: () => Promise<void>;
  #serial = 0;

  constructor(settings: Settings) {
    this.settings = settings;
    this.#close = onExit('a workload', () => {
      for (const detach of this.#detach.toReversed()) detach();
      for (const folder of [this.#memory, this.#disk]) rmSync(folder, { recursive: true, force: true });
    });
  }

  close(): Promise<void> {
    return this.#close();
  }

  /** A fresh folder. */
  folder(): string {
    const path = join(this.#memory, `folder-${this.#serial++}`);
    mkdirSync(path, { mode: 0o700 });
    return path;
  }

  /** A new path in RAM, or on the disk of the temporary folder. */
  path(where: 'ram' | 'disk' = 'ram'): string {
    return join(where === 'ram' ? this.#memory : this.#disk, `file-${this.#serial++}`);
  }

  /** A file of random bytes. */
  random(bytes: number, where: 'ram' | 'disk' = 'ram'): string {
    const path = this.path(where);
    this.scatter(path, 0, bytes);
    return path;
  }

  /** A file in RAM without content. */
  sparse(bytes: number): string {
    const path = this.path();
    const fd = openSync(path, 'w');
    ftruncateSync(fd, bytes);
    closeSync(fd);
    return path;
  }

  /** Random bytes at an offset of a file, which is made if it is not there. */
  scatter(path: string, offset: number, bytes: number): void {
    const fd = openSync(path, constants.O_WRONLY | constants.O_CREAT);
    const buffer = Buffer.alloc(MIB);
    for (let done = 0; done < bytes; done += MIB) {
      writeSync(fd, randomFillSync(buffer), 0, Math.min(MIB, bytes - done), offset + done);
    }
    closeSync(fd);
  }

  /** Overwrites a block in every MiB of a device, so that nothing that was there before can pass for a copy. */
  scribble(path: string, bytes: number): void {
    const fd = openSync(path, 'r+');
    const block = randomFillSync(Buffer.alloc(4096));
    for (let at = 0; at + block.length <= bytes; at += MIB) writeSync(fd, block, 0, block.length, at);
    closeSync(fd);
  }

  /** A loop device over a file in RAM that has all its blocks, or none. */
  loop(bytes: number, content: 'full' | 'sparse'): string {
    const device = attachLoop(content === 'full' ? this.random(bytes) : this.sparse(bytes));
    this.#detach.push(() => device.detach());
    // Without a second cache between the device and its file, where the file system under it can do that: `directIo` tells.
    spawnSync('losetup', ['--direct-io=on', device.path], { stdio: 'ignore' });
    return device.path;
  }
}

/** Does the loop device write to its file with direct I/O? */
export function directIo(loop: string): boolean {
  return readFileSync(`/sys/block/${basename(loop)}/loop/dio`, 'utf8').trim() === '1';
}

/** Nothing of the file is in the page cache any more. */
export function forget(path: string): void {
  const device = BlockDevice.open(path, { write: false, direct: false });
  try {
    device.dropCaches();
  } finally {
    device.close();
  }
}

/** Where programs of the system's own administration lie, which PATH may lack. */
const SYSTEM_FOLDERS = ['/usr/local/sbin', '/usr/sbin', '/sbin'];
/** Debian packages of programs that are not in every installation. */
const PACKAGES: Record<string, string> = {
  iperf3: 'iperf3',
  sshd: 'openssh-server',
  ssh: 'openssh-client',
  'ssh-keygen': 'openssh-client',
  nbdkit: 'nbdkit',
  nbdcopy: 'libnbd-bin',
  'qemu-nbd': 'qemu-utils',
  'qemu-img': 'qemu-utils',
  tc: 'iproute2',
  mke2fs: 'e2fsprogs',
};

/** What is missing of these programs, in words; undefined when nothing is. */
export function missing(programs: readonly string[]): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(':').filter(Boolean), ...SYSTEM_FOLDERS];
  const absent = programs.filter((program) => !folders.some((folder) => existsSync(join(folder, program))));
  if (absent.length === 0) return undefined;
  const packages = new Set(absent.map((program) => PACKAGES[program] ?? program));
  return `${absent.join(', ')} not found (Debian: ${[...packages].join(' ')})`;
}
