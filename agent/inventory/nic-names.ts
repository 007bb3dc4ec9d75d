/**
 * The names that udev would give a network card. The agent's image has no udev, so its kernel says eth0 where the source's own
 * system says ens3; the conversion looks for these names in the guest's network configuration.
 * Rules: systemd.net-naming-scheme(7) and the order of 99-default.link: onboard, slot, path.
 */
import { basename, dirname } from 'node:path';
import { devicePath, linkName, listNames, readBytes, readCount, readText } from './sysfs.ts';

/** IFNAMSIZ - 1. */
const NAME_MAX = 15;
/** BIOSes report rubbish above: the naming scheme's own cut-off. */
const ONBOARD_INDEX_MAX = 65535;
/** Offset of the header type in PCI configuration space; bit 7: the device has several functions. */
const PCI_HEADER_TYPE = 0x0e;
const PCI_MULTIFUNCTION = 0x80;

/** Candidate names of the interface at `/sys/class/net/<name>`, the most likely one first; empty for what udev does not name. */
export function predictableNames(root: string, name: string): string[] {
  const net = `${root}/sys/class/net/${name}`;
  const prefix = prefixOf(net);
  let device = devicePath(net, 'device');
  if (!prefix || !device) return [];
  // There is one virtio device per PCI function: udev looks through it.
  while (linkName(device, 'subsystem') === 'virtio') device = dirname(device);
  const usb = linkName(device, 'subsystem') === 'usb';
  const names = usb ? usbNames(net, device, prefix) : pciNames(root, net, device, prefix);
  return [...new Set(names)].filter((candidate) => candidate.length <= NAME_MAX);
}

function prefixOf(net: string): string | undefined {
  // ARPHRD_ETHER is 1; Infiniband (32) has `ib`. The kernel's DEVTYPE says wlan and wwan.
  const kind = /^DEVTYPE=(.*)$/m.exec(readText(net, 'uevent') ?? '')?.[1];
  if (kind === 'wlan') return 'wl';
  if (kind === 'wwan') return 'ww';
  const type = readText(net, 'type');
  if (type === '1') return 'en';
  return type === '32' ? 'ib' : undefined;
}

/** Ports of one PCI function are told apart by the driver: a front panel's name, or a count from 0. */
function portOf(net: string): string {
  const panel = readText(net, 'phys_port_name');
  if (panel) return `n${panel}`;
  const port = readCount(net, 'dev_port') ?? 0;
  return port > 0 ? `d${port}` : '';
}

function pciNames(root: string, net: string, device: string, prefix: string): string[] {
  const address = /^([0-9a-f]{4,}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$/.exec(basename(device));
  if (!address) return [];
  const [domain = 0, bus = 0, slot = 0, fn = 0] = address.slice(1).map((part) => Number.parseInt(part, 16));
  const port = portOf(net);
  const domainPart = domain > 0 ? `P${domain}` : '';
  const several = ((readBytes(device, 'config')?.[PCI_HEADER_TYPE] ?? 0) & PCI_MULTIFUNCTION) !== 0;
  const fnPart = fn > 0 || several ? `f${fn}` : '';

  const names: string[] = [];
  // ACPI's _DSM first, then SMBIOS type 41.
  const onboard = readCount(device, 'acpi_index') ?? readCount(device, 'index');
  if (onboard !== undefined && onboard > 0 && onboard <= ONBOARD_INDEX_MAX) names.push(`${prefix}o${onboard}${port}`);
  const hotplug = hotplugSlot(root, device);
  if (hotplug !== undefined) names.push(`${prefix}${domainPart}s${hotplug}${fnPart}${port}`);
  names.push(`${prefix}${domainPart}p${bus}s${slot}${fnPart}${port}`);
  return names;
}

/** The slot number that ACPI gives the device or a bridge above it. Newer schemes ignore a bridge's; older ones do not: it is a candidate. */
function hotplugSlot(root: string, device: string): number | undefined {
  const slots = listNames(root, 'sys/bus/pci/slots').flatMap((name) => {
    const address = readText(root, 'sys/bus/pci/slots', name, 'address');
    return /^[0-9]+$/.test(name) && Number(name) > 0 && address ? [{ number: Number(name), address }] : [];
  });
  for (let at = device; /^[0-9a-f]{4,}:/.test(basename(at)); at = dirname(at)) {
    const found = slots.find((slot) => basename(at).startsWith(slot.address));
    if (found) return found.number;
  }
  return undefined;
}

/** An interface of a USB device: `1-2.3:1.0` is port 2.3 of bus 1, configuration 1, interface 0. Debian and others name by MAC instead. */
function usbNames(net: string, device: string, prefix: string): string[] {
  const mac = readText(net, 'address');
  const byMac = mac ? [`${prefix}x${mac.replaceAll(':', '')}`] : [];
  const parts = /^[0-9]+-([0-9.]+):([0-9]+)\.([0-9]+)$/.exec(basename(device));
  if (!parts) return byMac;
  const [, ports = '', configuration, fn] = parts;
  const suffix = `${configuration === '1' ? '' : `c${configuration}`}${fn === '0' ? '' : `i${fn}`}`;
  const controller = pciParent(device);
  const bus = controller ? /^[0-9a-f]{4,}:([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$/.exec(basename(controller)) : undefined;
  const path = `u${ports.replaceAll('.', 'u')}${suffix}`;
  const byPath: string[] = [];
  if (controller && bus) {
    const [busNumber = 0, slot = 0, pciFn = 0] = bus.slice(1).map((part) => Number.parseInt(part, 16));
    const several = ((readBytes(controller, 'config')?.[PCI_HEADER_TYPE] ?? 0) & PCI_MULTIFUNCTION) !== 0;
    byPath.push(`${prefix}p${busNumber}s${slot}${pciFn > 0 || several ? `f${pciFn}` : ''}${path}`);
  }
  return [...byMac, ...byPath];
}

function pciParent(device: string): string | undefined {
  for (let at = dirname(device); at !== dirname(at); at = dirname(at))
    if (linkName(at, 'subsystem') === 'pci') return at;
  return undefined;
}
