/** The interface on which machines boot, as the kernel knows it. */
import { networkInterfaces } from 'node:os';
import { RehostError } from '../api/errors.ts';

export interface BootInterface {
  /** The appliance's IPv4 address on it. */
  address: string;
  netmask: string;
  /** Network address of both. */
  network: string;
}

/** PXE_UNAVAILABLE when there is no such interface, or it is down or has no IPv4 address: then nothing could boot over it. */
export function findInterface(name: string): BootInterface {
  const all = networkInterfaces();
  const ipv4 = Object.hasOwn(all, name) ? all[name]?.find(({ family }) => family === 'IPv4') : undefined;
  if (!ipv4) {
    const usable = Object.keys(all).filter((other) => all[other]?.some(({ family }) => family === 'IPv4'));
    throw new RehostError(
      'PXE_UNAVAILABLE',
      `Network boot: there is no interface '${name}' that is up and has an IPv4 address.`,
      { next: `Use one of these for 'pxe.interface': ${usable.join(', ')}; or give '${name}' an address.` },
    );
  }
  return { address: ipv4.address, netmask: ipv4.netmask, network: networkOf(ipv4.address, ipv4.netmask) };
}

/** The network address of an IPv4 address under a netmask, both as dotted quads. */
export function networkOf(address: string, netmask: string): string {
  const mask = netmask.split('.').map(Number);
  return address
    .split('.')
    .map((part, index) => Number(part) & (mask[index] ?? 0))
    .join('.');
}
