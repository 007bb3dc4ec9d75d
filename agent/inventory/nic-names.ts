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
/** domain:bus:device.function, hexadecimal. */
const PCI_ADDRESS = /^([0-9a-f]{4,}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$/;
/** ARPHRD_ETHER and ARPHRD_INFINIBAND; wireless cards are Ethernet too, and say what they are in DEVTYPE. */
const PREFIX_BY_TYPE: Readonly<Record<string, string>> = { '1': 'en', '32': 'ib' };

/** Candidate names of the interface at `/sys/class/net/<name>`, the most likely one first; empty for what udev does not name. */
export function predictableNames(root: string, name: string): string[] {
  const net = `${root}/sys/class/net/${name}`;
  const prefix = prefixOf(net);
  let device = devicePath(net, 'device');
  if (!prefix || !device) return [];
  // There is one virtio device per PCI function: udev looks through it.
  while (linkName(device, 'subsystem') === 'virtio') device = dirname(device);
  const usb = linkName(device, 'subsystem') === 'usb';
  const names = usb ? usbNames(root, net, device) : pciNames(root, device, portOf(net));
  return [...new Set(names)].map((each) => prefix + each).filter((candidate) => candidate.length <= NAME_MAX);
}

function prefixOf(net: string): string | undefined {
  const kind = /^DEVTYPE=(.*)$/m.exec(readText(net, 'uevent') ?? '')?.[1];
  if (kind === 'wlan') return 'wl';
  if (kind === 'wwan') return 'ww';
  return PREFIX_BY_TYPE[readText(net, 'type') ?? ''];
}

/** Ports of one PCI function are told apart by the driver: a front panel's name, or a count from 0. */
function portOf(net: string): string {
  const panel = readText(net, 'phys_port_name');
  if (panel) return `n${panel}`;
  const port = readCount(net, 'dev_port') ?? 0;
  return port > 0 ? `d${port}` : '';
}

/** Names by the firmware's index, by slot and by place on the bus, each with `port` at its end. */
function pciNames(root: string, device: string, port: string): string[] {
  // ACPI's _DSM first, then SMBIOS type 41.
  const onboard = readCount(device, 'acpi_index') ?? readCount(device, 'index') ?? 0;
  const byFirmware = onboard > 0 && onboard <= ONBOARD_INDEX_MAX ? [`o${onboard}${port}`] : [];
  return [...byFirmware, ...pciPlaces(root, device).map((place) => place + port)];
}

/** `s<slot>` where the firmware numbers slots, and `p<bus>s<device>`; with the domain and the function where there are several. */
function pciPlaces(root: string, device: string): string[] {
  const address = PCI_ADDRESS.exec(basename(device));
  if (!address) return [];
  const [domain = 0, bus = 0, slot = 0, fn = 0] = address.slice(1).map((part) => Number.parseInt(part, 16));
  const domainPart = domain > 0 ? `P${domain}` : '';
  const several = ((readBytes(device, 'config')?.[PCI_HEADER_TYPE] ?? 0) & PCI_MULTIFUNCTION) !== 0;
  const fnPart = fn > 0 || several ? `f${fn}` : '';
  const hotplug = hotplugSlot(root, device);
  const bySlot = hotplug === undefined ? [] : [`${domainPart}s${hotplug}${fnPart}`];
  return [...bySlot, `${domainPart}p${bus}s${slot}${fnPart}`];
}

/** The slot number that ACPI gives the device or a bridge above it. Newer schemes ignore a bridge's; older ones do not: it is a candidate. */
function hotplugSlot(root: string, device: string): number | undefined {
  const slots = listNames(root, 'sys/bus/pci/slots').flatMap((name) => {
    const address = readText(root, 'sys/bus/pci/slots', name, 'address');
    return /^[0-9]+$/.test(name) && Number(name) > 0 && address ? [{ number: Number(name), address }] : [];
  });
  for (let at = device; PCI_ADDRESS.test(basename(at)); at = dirname(at)) {
    const found = slots.find((slot) => basename(at).startsWith(slot.address));
    if (found) return found.number;
  }
  return undefined;
}

/** An interface of a USB device: `1-2.3:1.0` is port 2.3 of bus 1, configuration 1, interface 0. Debian and others name by MAC instead. */
function usbNames(root: string, net: string, device: string): string[] {
  const mac = readText(net, 'address');
  const byMac = mac ? [`x${mac.replaceAll(':', '')}`] : [];
  const parts = /^[0-9]+-([0-9.]+):([0-9]+)\.([0-9]+)$/.exec(basename(device));
  const controller = pciParent(device);
  if (!parts || !controller) return byMac;
  const [, ports = '', configuration, fn] = parts;
  const suffix = `${configuration === '1' ? '' : `c${configuration}`}${fn === '0' ? '' : `i${fn}`}`;
  return [...byMac, ...pciPlaces(root, controller).map((place) => `${place}u${ports.replaceAll('.', 'u')}${suffix}`)];
}

function pciParent(device: string): string | undefined {
  for (let at = dirname(device); at !== dirname(at); at = dirname(at))
    if (linkName(at, 'subsystem') === 'pci') return at;
  return undefined;
}
