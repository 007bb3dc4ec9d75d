/** Addresses as they stand in boot scripts and on a kernel's command line. */
import { isIPv6 } from 'node:net';
import { RehostError } from '../api/errors.ts';

export interface Endpoint {
  /** IPv4 or IPv6 address, or a DNS name, without brackets. */
  host: string;
  port: number;
}

const NAME = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/;

/** `HOST:PORT`, an IPv6 address in brackets. REQUEST_INVALID for anything that could mean more than that to iPXE, dnsmasq or a kernel. */
export function endpointText(field: string, { host, port }: Endpoint): string {
  if (!Number.isInteger(port) || port < 1 || port > 65535)
    throw new RehostError('REQUEST_INVALID', `${field}.port is ${port}, not a port from 1 to 65535.`);
  // A zone ("%eth0") means something on one machine only.
  if (isIPv6(host) && !host.includes('%')) return `[${host}]:${port}`;
  if (!NAME.test(host)) throw new RehostError('REQUEST_INVALID', `${field}.host '${host}' is no address and no name.`);
  return `${host}:${port}`;
}
