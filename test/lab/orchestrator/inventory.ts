/** A small machine's inventory. */
import type { Inventory } from '../../../appliance/api/inventory.ts';

export function inventory(changes: Partial<Inventory> = {}): Inventory {
  return {
    vendor: 'Example',
    product: 'Server 1000',
    serial: 'SN-0001-ABC123',
    uuid: '',
    firmware: 'bios',
    secureBoot: false,
    cpu: { model: 'Example CPU', cores: 2 },
    memoryBytes: 2 * 1024 ** 3,
    disks: [
      {
        name: 'sda',
        sizeBytes: 8 * 1024 ** 3,
        logicalSectorBytes: 512,
        model: 'Example Disk',
        serial: 'D1',
        bus: 'ata',
        rotational: false,
        table: 'gpt',
        partitions: [],
      },
    ],
    nics: [{ name: 'eth0', mac: '52:54:00:12:34:56', speedMbit: 1000, driver: 'e1000' }],
    ...changes,
  };
}
