/** The steps that make a source disk out of nothing. Runs as root in a mount namespace of its own. */
import { randomBytes } from 'node:crypto';
import { copyFile, open, readdir, readFile, rm, statfs, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../command.ts';
import { attachLoop, type LoopDevice, mount, withChroot } from './block-device.ts';
import { installBootloader } from './bootloader.ts';
import type { SourceFacts } from './facts.ts';
import { writeGuestData } from './guest-data.ts';
import { bootstrap, configureInitramfs, configureSystem } from './guest-system.ts';
import {
  DISK_BYTES,
  LAYOUTS,
  partitionNumber,
  partitionScript,
  SOURCE_ADDRESS,
  SOURCE_HOST_NAME,
  type SourceKind,
  type SourceLayout,
} from './layout.ts';

/** Stale content in blocks that the file system counts as free, bytes: what a copy of only the used blocks must not send. */
const STALE_BYTES = 200 * 1024 ** 2;

type FileSystemFacts = Pick<SourceFacts, 'hostKeyFingerprint' | 'manifestSha256' | 'usedBytes'>;

/** Builds disk.raw, id_ed25519(.pub), vmlinuz (the disk's kernel) and, for UEFI, nvram.fd in the folder `work`. Answers the facts of the disk. */
export async function buildDisk(kind: SourceKind, work: string, log: (line: string) => void): Promise<SourceFacts> {
  const layout = LAYOUTS[kind];
  const diskPath = join(work, 'disk.raw');
  await run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'rehost-lab', '-f', join(work, 'id_ed25519')]);
  await writeFile(diskPath, '');
  await truncate(diskPath, DISK_BYTES);
  await run(['sfdisk', '--quiet', diskPath], { input: partitionScript(layout) });

  const loop = await attachLoop(diskPath);
  try {
    const rootDevice = loop.partition(partitionNumber(layout, 'root'));
    // Nothing is left to the kernel's background work: the image is the same before and after its first boot.
    await run(['mkfs.ext4', '-q', '-L', 'root', '-E', 'lazy_itable_init=0,lazy_journal_init=0', rootDevice]);
    await run(['mkswap', loop.partition(partitionNumber(layout, 'swap'))]);
    const root = join(work, 'root');
    const unmount = await mount('-t', 'ext4', rootDevice, root);
    let facts: FileSystemFacts;
    try {
      facts = await fillRoot(root, work, loop, layout, log);
    } finally {
      await unmount();
    }
    await rm(root, { recursive: true });
    await run(['e2fsck', '-f', '-n', rootDevice]);
    return { kind, address: SOURCE_ADDRESS, hostName: SOURCE_HOST_NAME, nicName: layout.nicName, ...facts };
  } finally {
    await loop.detach();
  }
}

async function fillRoot(
  root: string,
  work: string,
  loop: LoopDevice,
  layout: SourceLayout,
  log: (line: string) => void,
): Promise<FileSystemFacts> {
  log('installing Debian');
  await bootstrap(root, layout, log);
  log('configuring the system and its boot loader');
  const blockDevices = [loop.device, ...layout.partitions.map((_, index) => loop.partition(index + 1))];
  const publicKey = await readFile(join(work, 'id_ed25519.pub'), 'utf8');
  const hostKeyFingerprint = await withChroot(root, blockDevices, async (chroot) => {
    await configureSystem(root, chroot, layout, publicKey);
    await configureInitramfs(root, chroot, layout);
    const nvramPath = join(work, 'nvram.fd');
    const diskPath = join(work, 'disk.raw');
    await installBootloader({ root, chroot, loop, layout, diskPath, nvramPath, scratch: work });
    return fingerprint(await chroot(['ssh-keygen', '-l', '-f', '/etc/ssh/ssh_host_ed25519_key.pub']));
  });
  await copyFile(join(root, 'boot', await kernelName(root)), join(work, 'vmlinuz'));
  log('writing the data');
  const manifestSha256 = await writeGuestData(root);
  await leaveStaleBlocks(root);
  const space = await statfs(root);
  return { hostKeyFingerprint, manifestSha256, usedBytes: (space.blocks - space.bfree) * space.bsize };
}

async function kernelName(root: string): Promise<string> {
  const name = (await readdir(join(root, 'boot'))).find((entry) => entry.startsWith('vmlinuz-'));
  if (name === undefined) throw new Error('Debian installed no kernel.');
  return name;
}

/** The second word of ssh-keygen's "256 SHA256:... comment (ED25519)". */
function fingerprint(line: string): string {
  const word = line.split(' ')[1];
  if (!word?.startsWith('SHA256:')) throw new Error(`ssh-keygen printed no fingerprint: '${line}'.`);
  return word;
}

/** Writes random content, makes it reach the disk, and deletes it without a discard: free blocks full of old data. */
async function leaveStaleBlocks(root: string): Promise<void> {
  const path = join(root, 'srv/deleted.tmp');
  const file = await open(path, 'wx');
  try {
    const pieceBytes = 1024 ** 2;
    for (let done = 0; done < STALE_BYTES; done += pieceBytes) await file.writeFile(randomBytes(pieceBytes));
    await file.sync();
  } finally {
    await file.close();
  }
  await rm(path);
  await run(['sync', '--file-system', root]);
}
