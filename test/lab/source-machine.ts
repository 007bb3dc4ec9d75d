/**
 * The source machine: QEMU standing for hardware that Rehost does not manage. Emulated, with an IDE or SATA disk, an e1000 and
 * a serial port. Its disk is writable, as on real hardware: that the source is only read has to be seen in the disk's hash.
 */
import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { RehostError } from '../../appliance/api/errors.ts';
import { onExit } from './cleanup.ts';
import type { Lab } from './namespace.ts';
import { LAYOUTS, PCI_SLOT, SOURCE_MAC, type SourceKind } from './source-disk/layout.ts';

/** Debian's ovmf package: firmware of the 4 MiB flash layout, without Secure Boot. */
const OVMF_CODE = '/usr/share/OVMF/OVMF_CODE_4M.fd';
const STOP_LIMIT_MS = 15_000;
const POLL_MS = 250;

export interface SourceMachineOptions {
  kind: SourceKind;
  /** Raw disk image that this machine may write: a copy of the cached one. */
  diskPath: string;
  /** UEFI: its variable store, written by the firmware. */
  nvramPath?: string;
  memoryMiB?: number;
  cpus?: number;
  /**
   * What boots from the network: the NIC's option ROM, which is iPXE (default), or the UEFI firmware's own PXE, which knows
   * nothing of iPXE. The firmware has a driver for virtio only, so that the NIC is of that kind then.
   */
  networkBoot?: 'ipxe-rom' | 'firmware';
}

export interface SourceMachine {
  /** MAC of its NIC. */
  readonly mac: string;
  readonly running: boolean;
  /** Powers it on. `network` boots from the NIC once; a reboot from inside then powers it off, and the next start chooses again. */
  start(from: { boot: 'network' | 'disk' }): Promise<void>;
  /** Pulls the plug; a machine that is off stays off. */
  stop(): Promise<void>;
  /** Resolves when it powers itself off or reboots. Rejects with TIMEOUT. */
  waitForPowerOff(deadlineMs: number): Promise<void>;
  /** Everything that its serial port said since the last start. */
  consoleText(): string;
  /** Waits until the console's text matches; answers the match. Rejects with TIMEOUT and the console's last lines. */
  waitForConsole(pattern: RegExp, deadlineMs: number): Promise<RegExpExecArray>;
  /** Types on the serial console. */
  type(text: string): Promise<void>;
}

/** A machine of this kind on a new tap of the lab's bridge, switched off. It is powered off with the lab. */
export async function createSourceMachine(lab: Lab, options: SourceMachineOptions): Promise<SourceMachine> {
  const tap = await lab.tap();
  const logPath = join(lab.directory, `${tap}.log`);
  const socketPath = join(lab.directory, `${tap}.sock`);
  let child: ChildProcess | undefined;
  let errors = '';
  let unplug: () => Promise<void> = async () => undefined;

  const consoleText = (): string => (existsSync(logPath) ? readFileSync(logPath, 'utf8') : '');
  const alive = (): boolean => child !== undefined && child.exitCode === null && child.signalCode === null;
  const until = async (done: () => boolean, deadlineMs: number): Promise<boolean> => {
    for (const end = Date.now() + deadlineMs; !done(); ) {
      if (Date.now() > end) return false;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    return true;
  };
  const tail = (): string => `${errors}\n${consoleText()}`.slice(-3000);

  return {
    mac: SOURCE_MAC,
    get running() {
      return alive();
    },
    start: async ({ boot }) => {
      if (alive()) throw new RehostError('MACHINE_BUSY', 'The source machine is running already.');
      await rm(logPath, { force: true });
      errors = '';
      const started = lab.spawn(qemuArgv(options, boot, tap, logPath, socketPath), {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      child = started;
      started.stderr?.setEncoding('utf8').on('data', (text: string) => {
        errors += text;
      });
      started.on('error', (error) => {
        errors += error.message;
      });
      unplug = onExit(`source machine on ${tap}`, async () => {
        started.kill('SIGTERM');
        if (!(await until(() => !alive(), STOP_LIMIT_MS))) started.kill('SIGKILL');
        if (!(await until(() => !alive(), STOP_LIMIT_MS)))
          throw new RehostError('TIMEOUT', 'The source machine did not end.');
      });
      // QEMU makes the log and the socket when it has understood its arguments.
      if (!(await until(() => existsSync(logPath) || !alive(), STOP_LIMIT_MS)) || !alive())
        throw new RehostError('TOOL_FAILED', `The source machine did not start: ${tail()}`);
    },
    stop: () => unplug(),
    waitForPowerOff: async (deadlineMs) => {
      if (!(await until(() => !alive(), deadlineMs)))
        throw new RehostError('TIMEOUT', `The source machine is still on after ${deadlineMs} ms: ${tail()}`);
      await unplug();
    },
    consoleText,
    waitForConsole: async (pattern, deadlineMs) => {
      let match: RegExpExecArray | null = null;
      await until(() => {
        match = pattern.exec(consoleText());
        return match !== null || !alive();
      }, deadlineMs);
      match ??= pattern.exec(consoleText());
      if (match) return match;
      const state = alive() ? `within ${deadlineMs} ms` : 'before the machine went off';
      throw new RehostError('TIMEOUT', `The console did not show ${String(pattern)} ${state}. It ends with: ${tail()}`);
    },
    type: (text) => typeInto(socketPath, text),
  };
}

async function typeInto(socketPath: string, text: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const socket = connect(socketPath, () => socket.end(text));
    socket.on('error', reject);
    socket.on('close', () => resolve());
    socket.resume();
  });
}

function qemuArgv(
  options: SourceMachineOptions,
  boot: 'network' | 'disk',
  tap: string,
  logPath: string,
  socketPath: string,
): string[] {
  const { machine } = LAYOUTS[options.kind];
  const fromNetwork = boot === 'network';
  const disk = { driver: 'raw', 'node-name': 'disk', file: { driver: 'file', filename: options.diskPath } };
  const model = options.networkBoot === 'firmware' ? { driver: 'virtio-net-pci', romfile: '' } : { driver: 'e1000' };
  const nic = { ...model, id: 'nic', netdev: 'lan', mac: SOURCE_MAC, addr: `0x${PCI_SLOT}` };
  const drive = { driver: 'ide-hd', id: 'hd', bus: 'ide.0', drive: 'disk', serial: 'LAB-DISK-0001' };
  return [
    'qemu-system-x86_64',
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-vga', 'std'],
    // A reboot ends QEMU: like hardware that was told to boot from the network once, it does not do so again by itself.
    ...['-machine', machine, '-accel', 'tcg,thread=multi', '-cpu', 'max', '-no-reboot'],
    ...['-smp', String(options.cpus ?? 2), '-m', String(options.memoryMiB ?? 1536)],
    ...['-uuid', '7c9e6679-7425-40de-944b-e07fc1f90ae7'],
    ...['-smbios', 'type=1,manufacturer=Lab,product=Source,serial=LAB-0060'],
    ...firmwareArgv(options),
    ...['-blockdev', JSON.stringify(disk), '-device', JSON.stringify({ ...drive, bootindex: fromNetwork ? 2 : 1 })],
    ...['-netdev', JSON.stringify({ type: 'tap', id: 'lan', ifname: tap, script: 'no', downscript: 'no' })],
    ...['-device', JSON.stringify(fromNetwork ? { ...nic, bootindex: 1 } : nic)],
    ...['-chardev', `socket,id=serial,path=${socketPath},server=on,wait=off,logfile=${logPath}`],
    ...['-serial', 'chardev:serial'],
  ];
}

function firmwareArgv(options: SourceMachineOptions): string[] {
  // Without graphics SeaBIOS mirrors its screen to the serial port and takes keys from it, as servers' consoles do.
  if (options.kind === 'bios') return ['-machine', 'graphics=off'];
  if (options.nvramPath === undefined)
    throw new RehostError('REQUEST_INVALID', 'A UEFI source machine needs its NVRAM: nvramPath is missing.');
  const flash = (name: string, filename: string, readonly: boolean): string[] => [
    '-blockdev',
    JSON.stringify({ driver: 'raw', 'node-name': name, 'read-only': readonly, file: { driver: 'file', filename } }),
  ];
  return [
    ...flash('code', OVMF_CODE, true),
    ...flash('vars', options.nvramPath, false),
    ...['-machine', 'pflash0=code,pflash1=vars'],
  ];
}
