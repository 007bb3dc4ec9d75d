/**
 * A private libvirtd for tests: own mount, process and network namespaces, own configuration, sockets in a temporary folder.
 * It sees nothing of the machine's own libvirt and leaves nothing behind, whatever ends it: everything it starts lives in
 * its process namespace, which the kernel ends together with this process.
 *
 * Debian 12: libvirt-daemon-system libvirt-clients. Debian 13: the same two names; there libvirt-daemon-system depends on the
 * split drivers (libvirt-daemon-driver-{qemu,network,storage,nodedev,nwfilter,secret}); none for interfaces exists.
 * Both: qemu-system-x86 qemu-utils ovmf iproute2 iptables util-linux.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { onExit } from './cleanup.ts';
import { run, runAny } from './command.ts';

/** How long the daemon may take until it answers, ms. It probes QEMU at its first question, slowly on a busy machine. */
const READY_DEADLINE_MS = 120_000;
/** How long ending one VM or network may take, ms. */
const TOOL_DEADLINE_MS = 60_000;

/** Runs as process 1 of the namespaces. $1: folder of the configuration. The daemon is started again when it dies, as systemd would. */
const INIT = `
set -eu
mount -t sysfs sysfs /sys
for folder in /run/libvirt /var/lib/libvirt /etc/libvirt /var/log/libvirt /var/cache/libvirt /run/dbus /run/systemd; do
  if [ -d "$folder" ]; then mount -t tmpfs -o mode=755 tmpfs "$folder"; fi
done
cp "$1/qemu.conf" /etc/libvirt/qemu.conf
ip link set lo up
while :; do
  libvirtd --config "$1/libvirtd.conf" --pid-file "/run/libvirt/rehost-lab.pid" || true
  sleep 0.2
done
`;

const QEMU_CONF = `
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
`;

export interface LabLibvirtd {
  /** URI of the connection, for any libvirt client on this machine. */
  uri: string;
  /** Folder of the pool `default`. */
  poolFolder: string;
  /** The daemon's log so far, for the message of a test that failed. */
  log(): Promise<string>;
  /** Kills the daemon with SIGKILL; its VMs go on, and a new daemon answers when this resolves. */
  killDaemon(): Promise<void>;
  /** Runs a tool in the daemon's namespaces, where its folders and mounts are; answers its stdout. */
  enter(argv: readonly string[]): Promise<string>;
  /** Ends every VM, every network, the daemon and its folder. Idempotent. */
  stop(): Promise<void>;
}

export interface LabOptions {
  /** Existing folder that becomes the dir pool `default`; without it one is made and removed with the daemon. */
  poolFolder?: string;
  /** Named network namespace (`ip netns`) to run in; without it the daemon has one of its own with nothing but loopback. */
  netns?: string;
}

/** Starts a private libvirtd; the caller stops it. Needs root and the packages named above; says so when they are missing. */
export async function startLibvirtd(options: LabOptions = {}): Promise<LabLibvirtd> {
  await requireParts();
  const folder = await mkdtemp(join(tmpdir(), 'rehost-libvirtd-'));
  const poolFolder = options.poolFolder ?? join(folder, 'pool');
  await mkdir(poolFolder, { recursive: true });
  await writeFile(join(folder, 'libvirtd.conf'), daemonConf(folder));
  await writeFile(join(folder, 'qemu.conf'), QEMU_CONF);
  const uri = `qemu+unix:///system?socket=${join(folder, 'libvirt-sock')}`;
  const says = await open(join(folder, 'init.log'), 'w');
  const init = spawnInit(folder, options.netns, says.fd);
  await says.close();
  const lab: LabLibvirtd = {
    uri,
    poolFolder,
    log: () => readFile(join(folder, 'libvirtd.log'), 'utf8'),
    enter: async (argv) => {
      const target = String(await shellOf(init));
      return await run(['nsenter', '--target', target, '--mount', '--pid', '--net', '--', ...argv]);
    },
    killDaemon: () => killDaemon(init, uri, folder),
    stop: onExit('the private libvirtd', () => stop(init, uri, folder, options.netns !== undefined)),
  };
  try {
    await ready(init, uri, folder);
    await virsh(uri, 'pool-define-as', 'default', 'dir', '--target', poolFolder);
    await virsh(uri, 'pool-start', 'default');
    await virsh(uri, 'pool-autostart', 'default');
    return lab;
  } catch (error) {
    await lab.stop();
    throw error;
  }
}

async function requireParts(): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error('a private libvirtd needs root');
  for (const tool of ['libvirtd', 'virsh', 'qemu-system-x86_64', 'qemu-img', 'unshare', 'setpriv', 'ip']) {
    if ((await runAny(['which', tool])).code === 0) continue;
    const packages = 'libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils';
    throw new Error(`a private libvirtd needs ${tool}: apt-get install ${packages}`);
  }
  // The namespaces mount over these; where no libvirt ever ran, some are missing.
  for (const folder of ['/run/libvirt', '/var/lib/libvirt', '/etc/libvirt', '/var/log/libvirt', '/var/cache/libvirt']) {
    await mkdir(folder, { recursive: true });
  }
}

function daemonConf(folder: string): string {
  return [
    'listen_tls = 0',
    'listen_tcp = 0',
    `unix_sock_dir = "${folder}"`,
    'unix_sock_rw_perms = "0700"',
    'auth_unix_ro = "none"',
    'auth_unix_rw = "none"',
    `host_uuid = "${randomUUID()}"`,
    `log_outputs = "3:file:${folder}/libvirtd.log"`,
    '',
  ].join('\n');
}

/** setpriv: the kernel ends unshare with this process; unshare's --kill-child ends the namespace with unshare. */
function spawnInit(folder: string, netns: string | undefined, says: number): ChildProcess {
  // Not `ip netns exec`: that has mounted a /sys of the namespace already, where this one mounts its own.
  const enter = netns === undefined ? [] : ['nsenter', `--net=/run/netns/${netns}`];
  const unshare = ['unshare', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const own = netns === undefined ? ['--net'] : [];
  const wrapped = [...enter, ...unshare, ...own, 'sh', '-c', INIT, 'rehost-lab', folder];
  const [file, ...args] = ['setpriv', '--pdeathsig', 'KILL', ...wrapped] as const;
  return spawn(file, args, { stdio: ['ignore', 'ignore', says], detached: true });
}

async function ready(init: ChildProcess, uri: string, folder: string): Promise<void> {
  const deadline = Date.now() + READY_DEADLINE_MS;
  for (;;) {
    try {
      await virsh(uri, 'uri');
      return;
    } catch (error) {
      if (init.exitCode !== null || init.signalCode !== null) {
        throw new Error(`the private libvirtd ended: ${await readFile(join(folder, 'init.log'), 'utf8')}`);
      }
      if (Date.now() > deadline) throw error;
      await sleep(100);
    }
  }
}

async function killDaemon(init: ChildProcess, uri: string, folder: string): Promise<void> {
  const shell = await shellOf(init);
  for (const pid of await childrenOf(shell)) {
    if ((await commandOf(pid)) !== 'libvirtd') continue;
    process.kill(pid, 'SIGKILL');
    const deadline = Date.now() + TOOL_DEADLINE_MS;
    while (existsSync(`/proc/${pid}`)) {
      if (Date.now() > deadline) throw new Error('the killed libvirtd does not end');
      await sleep(20);
    }
  }
  await ready(init, uri, folder);
}

/** Process 1 of the namespaces, by its number outside. */
async function shellOf(init: ChildProcess): Promise<number> {
  const [shell] = init.pid === undefined ? [] : await childrenOf(init.pid);
  if (shell === undefined) throw new Error('the private libvirtd has ended');
  return shell;
}

/** A process's name; empty when it has ended. */
async function commandOf(pid: number): Promise<string> {
  const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return '';
    throw error;
  });
  return name.trim();
}

async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return text.trim().split(' ').filter(Boolean).map(Number);
}

/** The VMs and the daemon end with their process namespace; networks first, where the network namespace is the caller's and stays. */
async function stop(init: ChildProcess, uri: string, folder: string, sharedNetns: boolean): Promise<void> {
  const ended = new Promise<void>((resolve) => init.once('exit', () => resolve()));
  try {
    if (init.exitCode !== null || init.signalCode !== null) return;
    try {
      if (sharedNetns) for (const network of await names(uri, 'net-list')) await virsh(uri, 'net-destroy', network);
    } finally {
      // unshare ends after process 1 of the namespace, and that one after everything else in it: nothing is left then.
      const [shell] = init.pid === undefined ? [] : await childrenOf(init.pid);
      if (shell === undefined) init.kill('SIGKILL');
      else process.kill(shell, 'SIGKILL');
      await ended;
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function names(uri: string, list: string): Promise<string[]> {
  return (await virsh(uri, list, '--name')).split('\n').filter((name) => name !== '');
}

function virsh(uri: string, ...args: string[]): Promise<string> {
  return run(['virsh', '--quiet', '--connect', uri, ...args], { timeoutMs: TOOL_DEADLINE_MS });
}
