/**
 * A boot image that proves how it was loaded: it prints its kernel command line and the SHA-256 of a large file in its
 * initramfs, then powers off. Made of the host's own tools and a kernel; stands in for the agent image in tests of the boot alone.
 */
import { createHash, randomBytes } from 'node:crypto';
import { copyFile, mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { run } from './command.ts';

const TOOLS = ['/bin/sh', '/usr/bin/sha256sum', '/bin/mount'];
const PIECE_BYTES = 1024 ** 2;

const INIT = `#!/bin/sh
/bin/mount -t proc proc /proc
read -r line </proc/cmdline
echo "probe-cmdline $line"
echo "probe-sha256 $(/usr/bin/sha256sum /payload)"
test -d /sys/firmware || /bin/mount -t sysfs sysfs /sys
test -d /sys/firmware/efi && echo probe-firmware uefi || echo probe-firmware bios
echo probe-end
echo o >/proc/sysrq-trigger
while :; do :; done
`;

/** Writes agent/vmlinuz and agent/initrd under `folder`, the initrd with a payload of so many random bytes. Answers its SHA-256, hex. */
export async function writeProbeImage(folder: string, kernelPath: string, payloadBytes: number): Promise<string> {
  const tree = join(folder, 'tree');
  for (const name of ['dev', 'proc', 'sys']) await mkdir(join(tree, name), { recursive: true });
  await run(['mknod', join(tree, 'dev/console'), 'c', '5', '1']);
  for (const tool of TOOLS) await copyTool(tree, tool);
  await writeFile(join(tree, 'init'), INIT, { mode: 0o755 });
  const sha256 = await writePayload(join(tree, 'payload'), payloadBytes);

  const names = await run(['find', '.', '-mindepth', '1'], { cwd: tree });
  await mkdir(join(folder, 'agent'), { recursive: true });
  const initrd = join(folder, 'agent', 'initrd');
  await run(['cpio', '--create', '--quiet', '--format=newc', '--file', initrd], { cwd: tree, input: names });
  await run(['rm', '-r', tree]);
  await copyFile(kernelPath, join(folder, 'agent', 'vmlinuz'));
  return sha256;
}

/** A tool and the libraries that the loader names for it, at the same paths. */
async function copyTool(tree: string, tool: string): Promise<void> {
  const libraries = (await run(['ldd', tool])).match(/\/\S+/g) ?? [];
  for (const path of [tool, ...libraries]) {
    await mkdir(dirname(join(tree, path)), { recursive: true });
    await writeFile(join(tree, path), await readFile(path), { mode: 0o755 });
  }
}

async function writePayload(path: string, bytes: number): Promise<string> {
  const hash = createHash('sha256');
  const file = await open(path, 'wx');
  try {
    for (let done = 0; done < bytes; done += PIECE_BYTES) {
      const piece = randomBytes(Math.min(PIECE_BYTES, bytes - done));
      hash.update(piece);
      await file.writeFile(piece);
    }
  } finally {
    await file.close();
  }
  return hash.digest('hex');
}
