/** The transfer VM's own network: an address from the config disk, and what others may dial. */
import { execFile } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { promisify } from 'node:util';
import type { ConfigDisk } from '../appliance/api/config-disk.ts';
import { RehostError } from '../appliance/api/errors.ts';

const run = promisify(execFile);
const TOOL_DEADLINE_MS = 30_000;
const DEVICE_DEADLINE_MS = 30_000;
const POLL_MS = 200;

/** Gives the first network card the fixed address. TOOL_FAILED with `ip`'s own words; TIMEOUT when there is no card. */
export async function setAddress(network: NonNullable<ConfigDisk['network']>): Promise<void> {
  const card = await firstCard();
  await ip(['link', 'set', 'dev', card, 'up']);
  // `replace`: a restarted receiver finds its own address there already.
  await ip(['addr', 'replace', network.address, 'dev', card]);
  if (network.gateway !== undefined) await ip(['route', 'replace', 'default', 'via', network.gateway, 'dev', card]);
}

/** Addresses that others may dial, IPv4 first; link-local ones need a scope that only this VM knows and are left out. */
export function dialAddresses(): string[] {
  const entries = Object.values(networkInterfaces()).flatMap((found) => found ?? []);
  const usable = entries.filter((entry) => !entry.internal && !/^(fe80:|169\.254\.)/i.test(entry.address));
  return [...usable.filter(({ family }) => family === 'IPv4'), ...usable.filter(({ family }) => family === 'IPv6')].map(
    ({ address }) => address,
  );
}

async function firstCard(): Promise<string> {
  const end = performance.now() + DEVICE_DEADLINE_MS;
  for (;;) {
    const card = readdirSync('/sys/class/net')
      .sort()
      .find((name) => !readlinkSync(`/sys/class/net/${name}`).includes('/virtual/'));
    if (card !== undefined) return card;
    if (performance.now() > end) throw new RehostError('TIMEOUT', 'The transfer VM has no network card.');
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function ip(argv: readonly string[]): Promise<void> {
  try {
    await run('ip', argv, { timeout: TOOL_DEADLINE_MS });
  } catch (cause) {
    throw new RehostError('TOOL_FAILED', `ip ${argv.join(' ')}: ${(cause as Error).message.trim()}`, { cause });
  }
}
