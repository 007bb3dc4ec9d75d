/** The driver for a hypervisor, chosen by what the host says of itself. */
import { RehostError } from '../api/errors.ts';
import type { HypervisorDriver } from './driver.ts';
import { LibvirtDriver } from './libvirt/driver.ts';

/**
 * Connects to a libvirt URI; the caller closes the driver. `bridges` are bridges of the host that the configuration names: they
 * count where a host cannot list its own. HYPERVISOR_UNREACHABLE, HYPERVISOR_REFUSED for a kind without a driver.
 */
export async function connect(uri: string, bridges: readonly string[] = []): Promise<HypervisorDriver> {
  const driver = new LibvirtDriver(uri, bridges);
  try {
    const { type } = await driver.probe();
    if (type === 'QEMU') return driver;
    throw new RehostError('HYPERVISOR_REFUSED', `There is no driver for hypervisors of the kind ${type}.`, {
      next: 'Use a libvirt URI that leads to QEMU, for example qemu:///system.',
    });
  } catch (error) {
    await driver.close();
    throw error;
  }
}
