/** Physical network cards, from /sys. */
import type { SourceNic } from '../../appliance/api/inventory.ts';
import { predictableNames } from './nic-names.ts';
import { devicePath, linkName, listNames, readCount, readText } from './sysfs.ts';

const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/;
const MAC_NONE = '00:00:00:00:00:00';

/** Every interface with a device behind it and a MAC address: no loopback, bridge, bond, VLAN or tunnel. */
export function sourceNics(root: string): SourceNic[] {
  return listNames(root, 'sys/class/net').flatMap((name) => {
    const net = `${root}/sys/class/net/${name}`;
    const mac = readText(net, 'address')?.toLowerCase() ?? '';
    if (!devicePath(net, 'device') || !MAC.test(mac) || mac === MAC_NONE) return [];
    const speed = readCount(net, 'speed');
    const pathNames = predictableNames(root, name);
    return [
      {
        name,
        ...(pathNames.length > 0 ? { pathNames } : {}),
        mac,
        // -1, 0 or an error while there is no link.
        speedMbit: speed !== undefined && speed > 0 ? speed : null,
        driver: linkName(net, 'device/driver') ?? '',
      },
    ];
  });
}
