/** The UDP ports of network boot, looked at before dnsmasq starts: it shares them, and then neither server would get every packet. */
import { createSocket } from 'node:dgram';
import { RehostError } from '../api/errors.ts';

/** TFTP and PXE boot server. DHCP's port 67 is not among them: broadcasts reach every server that shares it. */
const PORTS = [69, 4011];

/** PXE_UNAVAILABLE when another server has one of the ports on this address. */
export async function requireFreePorts(interfaceName: string, address: string): Promise<void> {
  for (const port of PORTS) {
    const socket = createSocket({ type: 'udp4', reuseAddr: false });
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once('error', reject);
        socket.bind({ port, address, exclusive: true }, resolve);
      });
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw portsTaken(interfaceName, why, error);
    } finally {
      socket.close();
    }
  }
}

/** The error for a port that another server has; `words` are the system's or dnsmasq's. */
export function portsTaken(interfaceName: string, words: string, cause?: unknown): RehostError {
  return new RehostError('PXE_UNAVAILABLE', `Network boot: another server has a port of ${interfaceName}: ${words}`, {
    next: `Stop the other DHCP, PXE or TFTP server of this appliance (UDP ports 67, 69 and 4011 on ${interfaceName}), or choose another interface.`,
    cause,
  });
}
