/** What others may dial of this transfer VM. Its init has set the address up: the config disk's, or DHCP's. */
import { networkInterfaces } from 'node:os';

/** Addresses that others may dial, IPv4 first; link-local ones need a scope that only this VM knows and are left out. */
export function dialAddresses(): string[] {
  const entries = Object.values(networkInterfaces()).flatMap((found) => found ?? []);
  const usable = entries.filter((entry) => !entry.internal && !/^(fe80:|169\.254\.)/i.test(entry.address));
  return [...usable.filter(({ family }) => family === 'IPv4'), ...usable.filter(({ family }) => family === 'IPv6')].map(
    ({ address }) => address,
  );
}
