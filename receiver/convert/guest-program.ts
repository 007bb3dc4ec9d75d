/**
 * Runs a program of the guest in a chroot. It is treated as hostile: namespaces of its own for mounts, processes, network
 * (empty), IPC and host name; no capability beyond those over files; /proc and /sys read-only; a /dev with a few harmless nodes
 * and the guest's own volumes; and an end, with everything that it started, at the deadline.
 */
import { readFile, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { RehostError } from '../../appliance/api/errors.ts';
import { kindOf } from './guest-files.ts';
import { resolveInGuest } from './guest-path.ts';
import { type RunResult, run, TOOL_ENVIRONMENT } from './run.ts';

export interface GuestProgram {
  /** Where the guest's root is mounted. */
  root: string;
  /** Block devices that the program may look at under their names here: the guest's own volumes. */
  devices: readonly string[];
  /** Absolute path in the guest, and arguments. */
  argv: readonly string[];
  timeoutMs: number;
  signal?: AbortSignal | undefined;
}

/** All that update-initramfs needs of root: to write and to hand on the guest's files, whoever owns them. */
const CAPABILITIES = 'cap_chown,cap_dac_override,cap_fowner,cap_fsetid';

/**
 * Runs inside the new namespaces, before the chroot. A constant: every name arrives as a positional parameter and is
 * only used quoted. The mounts vanish with the namespace.
 *
 * A chroot alone holds nobody who may call chroot(2) again, and where the root is the kernel's rootfs there is no
 * pivot_root(2). So an empty file system, with the guest's mounts in it, is moved over everything that this machine has:
 * above the guest's root there is only that. It is one folder above on purpose: a process whose root is not its mount
 * namespace's may not make a user namespace (current_chrooted() in the kernel's create_user_ns()), where it would have
 * every capability again. /sys is where this is put together because everybody has it and no guest is mounted there.
 *
 * capsh, by its path, because it changes the root and drops capabilities in one process: after the root has changed,
 * only the guest's programs are left, and before it, chroot(2) is needed. With an empty bounding set root gets just the
 * inheritable capabilities at an execve (capabilities(7)).
 */
const ENTER = `set -eu
root=$1; shift
count=$1; shift
mount -o remount,bind,nosuid,nodev,exec "$root"
while [ "$count" -gt 0 ]; do
  mount -o remount,bind,nosuid,nodev,exec "$1"; shift
  count=$((count - 1))
done
mount -t proc -o ro,nosuid,nodev,noexec proc "$root/proc"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
mount -t tmpfs -o nosuid,nodev,mode=755,size=16m tmpfs "$root/run"
mount -t tmpfs -o nosuid,noexec,mode=755,size=1m tmpfs "$root/dev"
mknod -m 666 "$root/dev/null" c 1 3
mknod -m 666 "$root/dev/zero" c 1 5
mknod -m 666 "$root/dev/full" c 1 7
mknod -m 666 "$root/dev/random" c 1 8
mknod -m 666 "$root/dev/urandom" c 1 9
mknod -m 666 "$root/dev/tty" c 5 0
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
mkdir -m 1777 "$root/dev/shm"
count=$1; shift
while [ "$count" -gt 0 ]; do
  mknod -m 400 "$root/dev/$1" b "$2" "$3"; shift 3
  count=$((count - 1))
done
program=$1; shift
mount -t tmpfs -o nosuid,nodev,noexec,mode=755,size=4k tmpfs /sys
mkdir /sys/guest
mount --move "$root" /sys/guest
mount -o remount,ro /sys
cd /sys
mount --move /sys /
exec /usr/sbin/capsh --quiet --chroot=guest --noamb --inh=${CAPABILITIES} --drop=all --no-new-privs \\
  --shell="$program" -- "$@"`;

/** Runs it to its end. Throws CONVERSION_FAILED when it may not run or takes too long; answers its exit code and output. */
export async function runInGuest(program: GuestProgram): Promise<RunResult> {
  for (const path of ['/proc', '/sys', '/dev', '/run']) {
    // A symlink here would let the mounts above land outside of the guest.
    const here = await resolveInGuest(program.root, path, { followLast: true });
    if (here !== `${program.root}${path}` || (await kindOf(program.root, path)) !== 'folder') {
      throw new RehostError('CONVERSION_FAILED', `The guest's ${path} is not a folder.`);
    }
  }
  const { root, argv } = program;
  const mountPoints = mountsBelow(await readFile('/proc/self/mounts', 'latin1'), root);
  const nodes = (await Promise.all(program.devices.map(deviceNode))).flat();
  const namespaces = ['--mount', '--pid', '--net', '--ipc', '--uts', '--fork', '--kill-child=KILL'];
  return await run(
    'unshare',
    [
      ...namespaces,
      ...['sh', '-c', ENTER, 'sh', root, String(mountPoints.length), ...mountPoints],
      ...[String(program.devices.length), ...nodes, ...argv],
    ],
    { timeoutMs: program.timeoutMs, signal: program.signal, env: { ...TOOL_ENVIRONMENT, TMPDIR: '/var/tmp' } },
  );
}

/** Name, major and minor number of a block device; the numbers' bits lie as in glibc's <sys/sysmacros.h>. */
async function deviceNode(device: string): Promise<[string, string, string]> {
  const { rdev } = await stat(device);
  const major = (rdev >>> 8) & 0xfff;
  const minor = (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
  return [basename(device), String(major), String(minor)];
}

/** Mount points below a folder, in the order in which they were made (proc_pid_mounts(5)). Pure. */
export function mountsBelow(mounts: string, root: string): string[] {
  return mounts
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((point) => point.startsWith(`${root}/`));
}
