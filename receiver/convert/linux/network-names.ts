/** Which interface names a guest's network configuration speaks of: ifupdown, systemd-networkd, netplan, NetworkManager. */
import { listFolder, readText } from '../guest-files.ts';

/** A name that the kernel takes (dev_valid_name): at most 15 bytes, no slash, colon or blank. */
const INTERFACE_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/;
/** Names that the kernel, systemd and biosdevname give to wired and wireless NICs; bridges, bonds and VLANs look otherwise. */
const HARDWARE_NAME = /^(?:eth\d+|en[a-z]*\d\w*|em\d+|p\d+p\d+|wl\w+)$/;

export function isInterfaceName(name: string): boolean {
  return INTERFACE_NAME.test(name) && name !== '.' && name !== '..';
}

export function isHardwareName(name: string): boolean {
  return HARDWARE_NAME.test(name);
}

/** Every interface name in the guest's network configuration; patterns (en*) are left out. */
export async function configuredNames(root: string): Promise<Set<string>> {
  const names = new Set<string>();
  const add = (found: readonly string[]): void => {
    for (const name of found) if (isInterfaceName(name) && name !== 'lo') names.add(name);
  };
  for (const path of await ifupdownFiles(root)) add(ifupdownNames((await readText(root, path)) ?? ''));
  for (const path of await filesIn(root, '/etc/systemd/network', '.network')) {
    add(iniValues((await readText(root, path)) ?? '', 'Match', 'Name').flatMap((value) => value.split(/\s+/)));
  }
  for (const path of await filesIn(root, '/etc/netplan', '.yaml'))
    add(netplanNames((await readText(root, path)) ?? ''));
  for (const path of await filesIn(root, '/etc/NetworkManager/system-connections', '')) {
    add(iniValues((await readText(root, path)) ?? '', 'connection', 'interface-name'));
  }
  return names;
}

/** ifupdown's files: interfaces and what Debian's default `source` line takes in. */
export async function ifupdownFiles(root: string): Promise<string[]> {
  return ['/etc/network/interfaces', ...(await filesIn(root, '/etc/network/interfaces.d', ''))];
}

/** Paths of the files in a folder whose name ends so, hidden ones left out. */
export async function filesIn(root: string, folder: string, suffix: string): Promise<string[]> {
  const names = await listFolder(root, folder);
  return names.filter((name) => name.endsWith(suffix) && !name.startsWith('.')).map((name) => `${folder}/${name}`);
}

/** Names in interfaces(5): stanzas, and the members of bridges and bonds. An alias eth0:1 and a VLAN eth0.5 speak of eth0. */
export function ifupdownNames(text: string): string[] {
  const names: string[] = [];
  for (const line of text.split('\n')) {
    const [word = '', ...rest] = line.trim().split(/\s+/);
    if (word === 'iface') names.push(rest[0] ?? '');
    else if (word === 'auto' || word.startsWith('allow-')) names.push(...rest);
    else if (/^(?:bridge[-_]ports|bond-slaves|slaves|vlan-raw-device)$/.test(word)) names.push(...rest);
  }
  return names.map((name) => name.replace(/[:.].*$/, '')).filter((name) => name !== 'none' && name !== 'all');
}

/** Values of a key in the sections of this name of an INI-like file (systemd.syntax(7), NetworkManager's keyfiles). */
export function iniValues(text: string, section: string, key: string): string[] {
  const values: string[] = [];
  let current = '';
  for (const line of text.split('\n')) {
    const header = /^\s*\[([^\]]+)\]/.exec(line);
    if (header) current = header[1] ?? '';
    const pair = /^\s*([^#;=\s][^=]*?)\s*=\s*(.*?)\s*$/.exec(line);
    if (current === section && pair?.[1] === key) values.push(pair[2] ?? '');
  }
  return values;
}

/** Keys below `ethernets:` of a netplan file, by indentation: netplan's own files and the installers' are in block style. */
export function netplanNames(text: string): string[] {
  const names: string[] = [];
  let section: number | undefined;
  let depth: number | undefined;
  for (const line of text.split('\n')) {
    const match = /^(\s*)"?([A-Za-z0-9_.-]+)"?\s*:/.exec(line);
    if (!match) continue;
    const indent = match[1]?.length ?? 0;
    if (section !== undefined && indent <= section) {
      section = undefined;
      depth = undefined;
    }
    if (section === undefined) {
      if (match[2] === 'ethernets') section = indent;
      continue;
    }
    depth ??= indent;
    if (indent === depth) names.push(match[2] ?? '');
  }
  return names;
}
