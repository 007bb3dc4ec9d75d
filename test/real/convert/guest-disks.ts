/** Disks for the conversion's tests: copies of the lab's source machines, and small file systems made by hand. */
import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { ConvertOptions, StepReport } from '../../../appliance/api/control.ts';
import { type ConvertResult, convertGuest } from '../../../receiver/convert/convert.ts';
import { type MountVolume, mountWithKernel } from '../../../receiver/convert/mounts.ts';
import type { ConvertDisk } from '../../../receiver/convert/volumes.ts';
import { onExit } from '../../lab/cleanup.ts';
import { run } from '../../lab/command.ts';
import { attachLoop, type LoopDevice } from '../../lab/source-disk/block-device.ts';
import type { SourceKind } from '../../lab/source-disk/layout.ts';
import { buildSourceDisk, copySourceDisk, type SourceDisk } from '../../lab/source-disk.ts';

export interface TestDisk {
  /** What the conversion gets. */
  disk: ConvertDisk;
  loop: LoopDevice;
  /** Raw image. */
  path: string;
  /** A folder for the test, removed with the disk. */
  folder: string;
  remove(): Promise<void>;
}

/** A writable copy of a source machine's disk, attached; its NVRAM lies beside it for UEFI. */
export async function sourceCopy(kind: SourceKind): Promise<TestDisk & { source: SourceDisk }> {
  requireRoot();
  const source = await buildSourceDisk(kind, { log: (line) => console.error(line) });
  const folder = await scratch();
  const { diskPath } = await copySourceDisk(source, folder.path);
  return { ...testDisk(await attachLoop(diskPath), diskPath, folder), source };
}

/** A disk without partitions that holds one file system with these files (path -> content). */
export async function smallDisk(
  fileSystem: 'ext4' | 'xfs' | 'btrfs',
  files: Record<string, string>,
  more: { sizeBytes?: number; fill?: (root: string) => Promise<void> } = {},
): Promise<TestDisk> {
  requireRoot();
  const folder = await scratch();
  const root = join(folder.path, 'content');
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content);
  }
  await mkdir(root, { recursive: true });
  await more.fill?.(root);
  const path = join(folder.path, 'disk.raw');
  await writeFile(path, '');
  await truncate(path, more.sizeBytes ?? 512 * 1024 * 1024);
  if (fileSystem === 'ext4') await run(['mkfs.ext4', '-q', '-d', root, path]);
  if (fileSystem === 'btrfs') await run(['mkfs.btrfs', '-q', '--rootdir', root, path]);
  if (fileSystem === 'xfs') await run(['mkfs.xfs', '-q', path]);
  const device = (await run(['losetup', '--find', '--show', path])).trim();
  const detach = onExit(`loop device ${device}`, () => run(['losetup', '--detach', device]).then(() => undefined));
  await run(['blockdev', '--setrw', device]);
  const disk = testDisk({ device, partition: () => device, detach }, path, folder);
  if (fileSystem === 'xfs') await mounted(disk.loop.device, (point) => run(['cp', '-a', `${root}/.`, point]));
  return disk;
}

function testDisk(loop: LoopDevice, path: string, folder: { path: string; remove: () => Promise<void> }): TestDisk {
  return {
    disk: { disk: 'sda', device: loop.device },
    loop,
    path,
    folder: folder.path,
    async remove() {
      await loop.detach();
      await folder.remove();
    },
  };
}

async function scratch(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'rehost-convert-'));
  return { path, remove: onExit(`folder ${path}`, () => rm(path, { recursive: true, force: true })) };
}

/** Mounts a device for the time of `work`, as the conversion would. */
export async function mounted<T>(device: string, work: (point: string) => Promise<T>): Promise<T> {
  const point = await mkdtemp(join(tmpdir(), 'rehost-mount-'));
  const type = (await run(['blkid', '-p', '-o', 'value', '-s', 'TYPE', device])).trim();
  if (type === 'vfat') await mountFat(device, point, 'rw+');
  else await run(['mount', device, point]);
  const undo = onExit(`mount ${point}`, async () => {
    await run(['umount', point]);
    await rm(point, { recursive: true });
  });
  try {
    return await work(point);
  } finally {
    await undo();
  }
}

/** `blkdev`: the unmount then waits until the daemon has written everything, as a kernel's own file system does. */
async function mountFat(device: string, point: string, mode: 'rw+' | 'ro'): Promise<void> {
  await run(['fusefat', '-o', `${mode},blkdev,fsname=${device}`, device, point]);
}

/** Everyone's kernel mounts; FAT goes through FUSE where this host's kernel has no driver of its own. */
const mountVolume: MountVolume = async (volume, point, mode) => {
  if (volume.fileSystem !== 'vfat') return await mountWithKernel(volume, point, mode);
  await mountFat(volume.device, point, mode.writable ? 'rw+' : 'ro');
};

export const OPTIONS: ConvertOptions = {
  network: 'keep',
  nics: [{ name: 'eth0', mac: '52:54:00:db:00:60' }],
  firmware: 'bios',
};

/** Runs the conversion on a disk; `steps` fills even when it fails. */
export async function convert(
  disk: TestDisk,
  options: Partial<ConvertOptions> = {},
  extra: { steps?: StepReport[]; log?: string[]; signal?: AbortSignal } = {},
): Promise<ConvertResult> {
  return await convertGuest({
    disks: [disk.disk],
    options: { ...OPTIONS, ...options },
    log: (line) => extra.log?.push(line),
    onStep: (step) => extra.steps?.push(step),
    mountVolume,
    ...(extra.signal ? { signal: extra.signal } : {}),
  });
}

/** SHA-256 of a device's whole content. */
export async function contentHash(device: string): Promise<string> {
  await run(['sync']);
  await run(['blockdev', '--flushbufs', device]);
  return (await run(['sha256sum', device])).split(' ')[0] ?? '';
}

/**
 * Mount points below /run that the conversion of this disk left behind. Another test may convert another disk at the same time: what lies
 * below a guest that was mounted from a device that is not this disk's is its own.
 */
export async function leftMounts(disk: TestDisk): Promise<string[]> {
  const mounts = (await readFile('/proc/self/mounts', 'utf8')).split('\n').map((line) => line.split(' '));
  const left = mounts.flatMap(([source = '', point = '']) => {
    const guest = /^\/run\/rehost-guest-[^/]+/.exec(point)?.[0];
    return guest === undefined ? [] : [{ source, point, guest }];
  });
  const others = left.filter(({ source }) => source.startsWith('/dev/') && !source.startsWith(disk.loop.device));
  const foreign = new Set(others.map(({ guest }) => guest));
  return left.filter(({ guest }) => !foreign.has(guest)).map(({ point }) => point);
}

function requireRoot(): void {
  if (process.getuid?.() !== 0) throw new Error('These tests attach loop devices and mount: run them as root.');
}
