/** Addresses of the machine that this runs on. */
import { networkInterfaces } from 'node:os';

const POLL_MS = 50;

export interface OwnAddress {
  /** Interface. */
  name: string;
  address: string;
}

/** Those that others may dial, IPv4 first; loopback is nobody else's, and link-local ones need a scope that only this machine knows. */
export function ownAddresses(): OwnAddress[] {
  const entries = Object.entries(networkInterfaces()).flatMap(([name, found]) =>
    (found ?? []).map((entry) => ({ ...entry, name })),
  );
  const usable = entries.filter((entry) => !entry.internal && !/^(fe80:|169\.254\.)/i.test(entry.address));
  return [...usable.filter(({ family }) => family === 'IPv4'), ...usable.filter(({ family }) => family === 'IPv6')].map(
    ({ name, address }) => ({ name, address }),
  );
}

/** Waits until this machine has an address, at most `deadlineMs`: a dial before that fails and costs a pause. */
export async function waitForAddress(deadlineMs: number): Promise<void> {
  const end = performance.now() + deadlineMs;
  while (ownAddresses().length === 0 && performance.now() < end)
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
}
