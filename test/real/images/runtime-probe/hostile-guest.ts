/** A guest made of BusyBox alone, whose only program tries to leave its root: the image's own root is the kernel's rootfs. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { runInGuest } from '../../../../receiver/convert/guest-program.ts';

const SCRIPT = `/busybox chroot /run /busybox true && echo escaped
echo x >/proc/sys/kernel/core_pattern && echo written
/busybox unshare -U /busybox true && echo unshared
echo root: $(/busybox ls /)
/busybox grep -E '^Cap(Eff|Bnd)' /proc/self/status`;

/** What the program said on its standard output, line by line. */
export async function hostileGuest(): Promise<string[]> {
  const root = '/run/probe-guest';
  mkdirSync(root);
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', root]);
  try {
    for (const name of ['proc', 'sys', 'dev', 'run']) mkdirSync(`${root}/${name}`);
    copyFileSync('/usr/bin/busybox', `${root}/busybox`);
    const argv = ['/busybox', 'sh', '-c', SCRIPT];
    const { stdout, stderr } = await runInGuest({ root, devices: [], argv, timeoutMs: 60_000 });
    return stdout === '' ? stderr.split('\n') : stdout.trimEnd().split('\n');
  } finally {
    execFileSync('umount', [root]);
    rmSync(root, { recursive: true });
  }
}
