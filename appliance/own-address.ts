/** The address under which other machines most likely reach this appliance, where the configuration does not say it. */
import { networkInterfaces } from 'node:os';

/** The first IPv4 address of the named interface, or of any that is not the loopback; 127.0.0.1 where there is none. */
export function ownAddress(interfaceName: string | undefined): string {
  const interfaces = networkInterfaces();
  const chosen = interfaceName === undefined ? Object.values(interfaces).flat() : (interfaces[interfaceName] ?? []);
  return chosen.find((address) => address?.family === 'IPv4' && !address.internal)?.address ?? '127.0.0.1';
}
