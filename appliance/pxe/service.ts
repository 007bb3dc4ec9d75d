/** The PXE service: dnsmasq as a child process that lives as long as the orchestrator. */
import { type ChildProcess, spawn } from 'node:child_process';
import { access, constants, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RehostError } from '../api/errors.ts';
import { dnsmasqConfig, IPXE_FILES } from './dnsmasq-config.ts';
import type { Endpoint } from './endpoint.ts';
import { findInterface } from './interface.ts';
import { scriptUrl } from './ipxe-script.ts';
import { endLeftovers } from './leftovers.ts';
import { portsTaken, requireFreePorts } from './ports.ts';

export interface PxeOptions {
  /** Interface on which machines boot; it has an IPv4 address. */
  interface: string;
  /** Where the boot files are served over plain HTTP. */
  boot: Endpoint;
  /** The orchestrator's state folder; the configuration is written to `pxe/` in it. */
  stateDir: string;
  /** Folder of Debian's ipxe package. */
  ipxeDir?: string;
  /** Gets dnsmasq's log, line by line. */
  log?: (line: string) => void;
  /** Called once when dnsmasq ends without having been stopped. */
  onFailure?: (error: RehostError) => void;
}

export interface PxeService {
  /** Ends dnsmasq; resolves when it is gone. Safe to call twice. */
  stop(): Promise<void>;
}

const IPXE_DIR = '/usr/lib/ipxe';
const START_LIMIT_MS = 15_000;
const STOP_LIMIT_MS = 5_000;
/** What dnsmasq logs last when all its sockets are open and it has given up root. */
const READY = /dnsmasq-tftp\[\d+\]: TFTP root is /;
const OUTPUT_KEPT = 4_000;

/**
 * Starts dnsmasq beside the LAN's own DHCP server (root). PXE_UNAVAILABLE says what is missing or taken; nothing is left
 * running then. A dnsmasq of this state folder whose orchestrator was killed is ended first.
 */
export async function startPxe(options: PxeOptions): Promise<PxeService> {
  const { address, network, netmask } = findInterface(options.interface);
  const ipxeDir = options.ipxeDir ?? IPXE_DIR;
  await requireIpxe(ipxeDir);
  const folder = join(options.stateDir, 'pxe');
  const configPath = join(folder, 'dnsmasq.conf');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const facts = { interface: options.interface, network, netmask, ipxeDir, scriptUrl: scriptUrl(options.boot) };
  await writeFile(configPath, dnsmasqConfig(facts));
  await endLeftovers(configPath);
  await requireFreePorts(options.interface, address);

  const child = spawn('dnsmasq', ['--keep-in-foreground', `--conf-file=${configPath}`], {
    stdio: ['ignore', 'ignore', 'pipe'],
    // Its messages are read: they must not be translated.
    env: { PATH: process.env.PATH, LC_ALL: 'C' },
  });
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  await ready(child, options);

  let stopping = false;
  void exited.then(() => {
    if (!stopping) options.onFailure?.(ended(child));
  });
  return {
    stop: async () => {
      stopping = true;
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS);
      await exited;
      clearTimeout(timer);
    },
  };
}

async function requireIpxe(ipxeDir: string): Promise<void> {
  if (!/^\/[^\n",]*$/.test(ipxeDir))
    throw new RehostError('REQUEST_INVALID', `ipxeDir '${ipxeDir}' is not an absolute path without quotes and commas.`);
  for (const name of Object.values(IPXE_FILES)) {
    try {
      await access(join(ipxeDir, name), constants.R_OK);
    } catch (cause) {
      throw new RehostError('PXE_UNAVAILABLE', `Network boot: iPXE's ${name} is not in ${ipxeDir}.`, {
        next: "Install Debian's package ipxe.",
        cause,
      });
    }
  }
}

/** Waits until dnsmasq serves; forwards its log from then on too. */
async function ready(child: ChildProcess, options: PxeOptions): Promise<void> {
  let output = '';
  let rest = '';
  await new Promise<void>((resolve, reject) => {
    const fail = (error: RehostError): void => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      reject(error);
    };
    const timer = setTimeout(
      () => fail(new RehostError('PXE_UNAVAILABLE', `dnsmasq was not ready within ${START_LIMIT_MS} ms: ${output}`)),
      START_LIMIT_MS,
    );
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-OUTPUT_KEPT);
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) options.log?.(line);
      if (READY.test(output)) {
        clearTimeout(timer);
        resolve();
      }
    });
    child.once('error', (cause) => fail(notStarted(cause)));
    child.once('close', () => fail(refused(options.interface, output)));
  });
}

function notStarted(cause: Error): RehostError {
  const missing = 'code' in cause && cause.code === 'ENOENT';
  return new RehostError('PXE_UNAVAILABLE', `Network boot: dnsmasq could not be started: ${cause.message}.`, {
    ...(missing ? { next: "Install Debian's package dnsmasq-base." } : {}),
    cause,
  });
}

function refused(name: string, output: string): RehostError {
  const words = output.trim();
  if (/address already in use/i.test(words)) return portsTaken(name, words);
  return new RehostError('PXE_UNAVAILABLE', `Network boot: dnsmasq refused to start: ${words}`);
}

function ended(child: ChildProcess): RehostError {
  const how = child.exitCode === null ? `by ${child.signalCode ?? 'a signal'}` : `with ${child.exitCode}`;
  return new RehostError('PXE_UNAVAILABLE', `Network boot: dnsmasq ended ${how}.`);
}
