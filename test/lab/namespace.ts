/**
 * The lab's network: one namespace for the appliance with a bridge, where the orchestrator, its PXE service, libvirtd and every
 * virtual machine's tap live, and a second one with a DHCP server of its own behind a veth, as the LAN's router would be.
 * Nothing of it touches the host's own network.
 */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RehostError } from '../../appliance/api/errors.ts';
import { onExit } from './cleanup.ts';
import { type CommandOptions, run, runAny } from './command.ts';
import { startDhcpServer } from './dhcp-server.ts';

export const LAB_BRIDGE = 'br-lan';
/** The appliance's address on the lab's LAN. */
export const LAB_ADDRESS = '10.77.0.1';
export const LAB_PREFIX = 24;
const DHCP_ADDRESS = '10.77.0.2';

export interface SpawnOptions {
  stdio?: StdioOptions;
  env?: Record<string, string>;
  cwd?: string;
}

export interface Lab {
  /** Name of the appliance's namespace, for `ip netns exec`. */
  readonly namespace: string;
  /** Name of the second namespace: another machine on the LAN, which runs the LAN's DHCP server. */
  readonly neighbour: string;
  readonly address: string;
  readonly bridge: string;
  /** Folder for logs, sockets and copies; removed by close. Its path is short enough for unix sockets. */
  readonly directory: string;
  /** Runs a tool in the namespace to its end; answers its stdout, rejects with TOOL_FAILED. */
  exec(argv: readonly string[], options?: CommandOptions): Promise<string>;
  /** Starts a process in the namespace. close ends it, and everything else that runs in there. */
  spawn(argv: readonly string[], options?: SpawnOptions): ChildProcess;
  /** Makes a tap on the bridge; answers its name, at most 15 characters. */
  tap(): Promise<string>;
  /** What the LAN's own DHCP server said so far, while the lab is open. */
  dhcpLog(): string;
  /** Ends every process of the lab and removes it. Safe to call twice. */
  close(): Promise<void>;
}

let opened = 0;

/** Opens a lab of this process (root). What killed processes left behind is removed first. */
export async function openLab(): Promise<Lab> {
  await removeDeadLabs();
  opened += 1;
  const name = `rehost-${process.pid}-${startTime(process.pid) ?? 0}-${opened}`;
  const lan = `${name}-lan`;
  const dhcp = `${name}-dhcp`;
  const directory = join(tmpdir(), name);
  await mkdir(directory, { mode: 0o700 });
  const children = new Set<ChildProcess>();
  const close = onExit(`lab ${name}`, async () => {
    await removeNamespace(lan);
    await removeNamespace(dhcp);
    // One that was just started may not have been in its namespace yet when that was emptied.
    await Promise.all([...children].map((child) => ended(child)));
    await rm(directory, { recursive: true, force: true });
  });
  try {
    await layCables(lan, dhcp);
    const dhcpLog = join(directory, 'dhcp.log');
    await startDhcpServer(dhcp, DHCP_ADDRESS, LAB_ADDRESS, dhcpLog);
    let taps = 0;
    return {
      namespace: lan,
      neighbour: dhcp,
      address: LAB_ADDRESS,
      bridge: LAB_BRIDGE,
      directory,
      exec: (argv, options) => run(inside(lan, argv), options),
      spawn: (argv, options) => {
        const child = spawnInside(lan, argv, options);
        children.add(child);
        child.once('close', () => children.delete(child));
        return child;
      },
      tap: async () => {
        taps += 1;
        const tap = `tap-lab${taps}`;
        await run(['ip', '-n', lan, 'tuntap', 'add', 'dev', tap, 'mode', 'tap']);
        await run(['ip', '-n', lan, 'link', 'set', tap, 'master', LAB_BRIDGE, 'up']);
        return tap;
      },
      dhcpLog: () => readFileSync(dhcpLog, 'utf8'),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function layCables(lan: string, dhcp: string): Promise<void> {
  for (const namespace of [lan, dhcp]) {
    await run(['ip', 'netns', 'add', namespace]);
    await run(['ip', '-n', namespace, 'link', 'set', 'lo', 'up']);
  }
  await run(['ip', '-n', lan, 'link', 'add', LAB_BRIDGE, 'type', 'bridge', 'stp_state', '0', 'forward_delay', '0']);
  await run(['ip', '-n', lan, 'address', 'add', `${LAB_ADDRESS}/${LAB_PREFIX}`, 'dev', LAB_BRIDGE]);
  await run(['ip', '-n', lan, 'link', 'set', LAB_BRIDGE, 'up']);
  await run(['ip', '-n', lan, 'link', 'add', 'veth-dhcp', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', dhcp]);
  await run(['ip', '-n', lan, 'link', 'set', 'veth-dhcp', 'master', LAB_BRIDGE, 'up']);
  await run(['ip', '-n', dhcp, 'address', 'add', `${DHCP_ADDRESS}/${LAB_PREFIX}`, 'dev', 'eth0']);
  await run(['ip', '-n', dhcp, 'link', 'set', 'eth0', 'up']);
}

function inside(namespace: string, argv: readonly string[]): string[] {
  return ['ip', 'netns', 'exec', namespace, ...argv];
}

function spawnInside(namespace: string, argv: readonly string[], options: SpawnOptions = {}): ChildProcess {
  const [file = '', ...args] = inside(namespace, argv);
  return spawn(file, args, {
    stdio: options.stdio ?? ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
}

/** Kills a child that still lives, and waits for its end. One that could not be started has none. */
async function ended(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
}

/** Namespaces and folders of labs whose process is gone. */
async function removeDeadLabs(): Promise<void> {
  const listed = await run(['ip', 'netns', 'list']);
  for (const line of listed.split('\n')) {
    const [namespace = ''] = line.split(' ');
    // Other parts of a test give their own namespaces the lab's name and a word.
    const [, lab] = /^(rehost-\d+-\d+-\d+)-[a-z]+$/.exec(namespace) ?? [];
    if (lab !== undefined && isDead(lab)) await removeNamespace(namespace);
  }
  for (const name of await readdir(tmpdir()))
    if (isDead(name)) await rm(join(tmpdir(), name), { recursive: true, force: true });
}

/** Is this the name of a lab whose process is gone? The start time tells the process from a later one with its number. */
function isDead(name: string): boolean {
  const owner = /^rehost-(\d+)-(\d+)-\d+$/.exec(name);
  return owner !== null && startTime(Number(owner[1])) !== Number(owner[2]);
}

/** Clock ticks from the host's boot to the process's start; undefined when there is no such process. */
function startTime(pid: number): number | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    // No such process: that is the answer.
    return undefined;
  }
  // proc_pid_stat(5): field 22; the name in field 2 may hold spaces and ends with the last bracket.
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
}

const KILL_ROUNDS = 100;
const KILL_ROUND_MS = 100;

/** Ends the processes of a namespace (SIGTERM, after half the rounds SIGKILL), then removes it. Nothing happens when it is not there. */
async function removeNamespace(namespace: string): Promise<void> {
  for (let round = 0; round < KILL_ROUNDS; round++) {
    const listed = await runAny(['ip', 'netns', 'pids', namespace]);
    // It was never made, or is gone.
    if (listed.code !== 0) return;
    const pids = listed.stdout.split('\n').filter(Boolean).map(Number);
    if (pids.length === 0) {
      await run(['ip', 'netns', 'delete', namespace]);
      return;
    }
    if (round === 0 || round === KILL_ROUNDS / 2)
      for (const pid of pids) signal(pid, round === 0 ? 'SIGTERM' : 'SIGKILL');
    await new Promise((resolve) => setTimeout(resolve, KILL_ROUND_MS));
  }
  throw new RehostError('TIMEOUT', `The processes of the namespace ${namespace} did not end.`);
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    // It ended between the listing and now.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}
