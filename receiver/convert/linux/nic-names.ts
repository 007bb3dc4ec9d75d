/**
 * The NICs keep their names: ens192 of the source would be enp1s0 on the target, and its static address would be lost.
 * The target's NICs have the source's MACs, so a systemd .link file ties each name to its MAC.
 *
 * What makes it stick on Debian 12 and 13: virtio_net may be loaded in the initramfs already, and udev there names the
 * NIC by path. The udev of the real root handles the NIC's `add` again (systemd-udev-trigger) and renames it, because
 * since naming scheme v239 a name given by udev may be changed by a .link without NamePolicy=keep. An initramfs that is
 * built after this step also carries the file (the udev package's initramfs hook copies /etc/systemd/network/*.link).
 * A rule in 70-persistent-net.rules goes before any .link file; the name that it gives to this MAC is therefore the one
 * that is pinned.
 */
import { kindOf, listFolder, makeFolder, readText, writeText } from '../guest-files.ts';
import type { ConversionStep } from '../step.ts';
import { configuredNames, filesIn, iniValues, isHardwareName, isInterfaceName } from './network-names.ts';

const LINK_FOLDER = '/etc/systemd/network';
const PERSISTENT_RULES = '/etc/udev/rules.d/70-persistent-net.rules';
/** First systemd whose udev knows PermanentMACAddress= (NEWS, v245). */
const PERMANENT_MAC_SINCE = 245;

interface Nic {
  name: string;
  mac: string;
}

interface SourceNic extends Nic {
  /** Names that udev's rules may have given it in the guest, the most likely one first. */
  pathNames?: readonly string[];
}

export const nicNames: ConversionStep = {
  name: 'nic-names',
  async applies(guest) {
    return guest.options.nics.length > 0 && (await kindOf(guest.root, '/etc')) === 'folder';
  },
  async apply(guest) {
    const { root } = guest;
    const rules = (await readText(root, PERSISTENT_RULES)) ?? '';
    const nics = guest.options.nics.map((nic) => ({ ...nic, mac: nic.mac.toLowerCase() }));
    const plan = planNames(nics, await configuredNames(root), persistentNames(rules));
    const own = await macsOfLinkFiles(root);
    const systemd = await systemdVersion(root);
    let changed = false;
    const notes = [...plan.notes];
    for (const nic of plan.pinned) {
      if (own.has(nic.mac)) {
        notes.push(`${nic.mac} has a .link file of the guest's own`);
        continue;
      }
      const path = `${LINK_FOLDER}/10-rehost-${nic.name}.link`;
      const text = linkFile(nic, systemd);
      notes.push(`${nic.name} belongs to ${nic.mac}`);
      if ((await readText(root, path)) === text) continue;
      await makeFolder(root, LINK_FOLDER);
      await writeText(root, path, text);
      changed = true;
    }
    return { changed, detail: `NIC names: ${notes.join('; ') || 'none to keep'}.` };
  },
};

/**
 * Which name each MAC keeps. The agent's kernel may have called a NIC otherwise than the guest did; the guest's own
 * configuration therefore chooses among the names that udev may have given the NIC there. Pure.
 */
export function planNames(
  nics: readonly SourceNic[],
  configured: ReadonlySet<string>,
  persistent: ReadonlyMap<string, string>,
): { pinned: Nic[]; notes: string[] } {
  const pinned: Nic[] = [];
  const unruled: SourceNic[] = [];
  for (const nic of nics) {
    const ruled = persistent.get(nic.mac);
    if (ruled !== undefined) pinned.push({ name: ruled, mac: nic.mac });
    else unruled.push(nic);
  }
  const chosen = choosePathNames(unruled, configured, new Set(pinned.map((nic) => nic.name)));
  for (const [{ mac }, name] of chosen) pinned.push({ name, mac });
  const taken = new Set(pinned.map((nic) => nic.name));
  const open: Nic[] = [];
  for (const nic of unruled.filter((each) => !chosen.has(each))) {
    const { name, mac } = nic;
    if (configured.has(name) && !taken.has(name)) pinned.push({ name, mac });
    else open.push({ name, mac });
  }
  for (const nic of pinned) taken.add(nic.name);
  // A second name for a NIC that has one (from an older configuration) is not another NIC's.
  for (const nic of chosen.keys()) for (const name of nic.pathNames ?? []) taken.add(name);
  const free = [...configured].filter((name) => isHardwareName(name) && !taken.has(name));
  const notes: string[] = [];
  const [single] = open;
  const [name] = free;
  if (single && open.length === 1 && name !== undefined && free.length === 1) {
    pinned.push({ name, mac: single.mac });
  } else if (free.length > 0) {
    const macs = open.map((nic) => nic.mac).join(', ') || 'no NIC';
    notes.push(`the guest configures ${free.join(', ')}, and it is not known which of ${macs} that is`);
  } else {
    // Nothing is configured by name. A predictable name is kept for firewalls and scripts; a kernel name may be the agent's only.
    for (const nic of open) {
      if (isInterfaceName(nic.name) && isHardwareName(nic.name) && !nic.name.startsWith('eth')) pinned.push(nic);
      else notes.push(`${nic.mac} is left to the guest's own naming`);
    }
  }
  return { pinned, notes };
}

/**
 * A configured name belongs to the NIC that may have it. Of several such names the NIC has the most likely one, unless
 * that may be another NIC's too: such a name goes to nobody until the others' own names leave only one NIC for it.
 */
function choosePathNames(
  nics: readonly SourceNic[],
  configured: ReadonlySet<string>,
  taken: ReadonlySet<string>,
): Map<SourceNic, string> {
  const chosen = new Map<SourceNic, string>();
  const used = new Set(taken);
  const candidates = (nic: SourceNic): string[] =>
    (nic.pathNames ?? []).filter((name) => configured.has(name) && !used.has(name));
  for (let found = true; found; ) {
    found = false;
    for (const nic of nics.filter((each) => !chosen.has(each))) {
      const [name] = candidates(nic);
      const others = nics.filter((other) => other !== nic && !chosen.has(other));
      if (name === undefined || others.some((other) => candidates(other).includes(name))) continue;
      chosen.set(nic, name);
      used.add(name);
      found = true;
    }
  }
  return chosen;
}

/** MAC -> NAME of the rules that udev's persistent-net-generator wrote (Debian up to 8, and whoever kept the file). */
export function persistentNames(rules: string): Map<string, string> {
  const names = new Map<string, string>();
  for (const line of rules.split('\n')) {
    if (/^\s*#/.test(line)) continue;
    const mac = /ATTR\{address\}=="([0-9a-f:]{17})"/i.exec(line)?.[1];
    const name = /\bNAME="([^"]+)"/.exec(line)?.[1];
    if (mac !== undefined && name !== undefined && isInterfaceName(name)) names.set(mac.toLowerCase(), name);
  }
  return names;
}

/** The .link file (systemd.link(5)). */
export function linkFile(nic: Nic, systemdVersion: number | undefined): string {
  // MACAddress= would also match a VLAN or bridge that inherits the address; without PermanentMACAddress= the driver keeps those out.
  const match =
    systemdVersion === undefined || systemdVersion >= PERMANENT_MAC_SINCE
      ? `PermanentMACAddress=${nic.mac}`
      : `MACAddress=${nic.mac}\nDriver=virtio_net e1000 e1000e`;
  return `# Written by Rehost: this NIC had this name on the source machine.\n[Match]\n${match}\n\n[Link]\nName=${nic.name}\n`;
}

/** MACs that the guest's own .link files give a name. */
async function macsOfLinkFiles(root: string): Promise<Set<string>> {
  const macs = new Set<string>();
  for (const path of await filesIn(root, LINK_FOLDER, '.link')) {
    if (path.startsWith(`${LINK_FOLDER}/10-rehost-`)) continue;
    const text = (await readText(root, path)) ?? '';
    if (iniValues(text, 'Link', 'Name').length === 0) continue;
    const values = [...iniValues(text, 'Match', 'MACAddress'), ...iniValues(text, 'Match', 'PermanentMACAddress')];
    for (const mac of values.flatMap((value) => value.split(/\s+/))) macs.add(mac.toLowerCase().replaceAll('-', ':'));
  }
  return macs;
}

/** The guest's systemd by the name of its private library, which carries the version. */
async function systemdVersion(root: string): Promise<number | undefined> {
  for (const folder of ['/usr/lib/x86_64-linux-gnu/systemd', '/usr/lib/systemd', '/lib/systemd']) {
    for (const name of await listFolder(root, folder)) {
      const version = /^libsystemd-shared-(\d+)/.exec(name)?.[1];
      if (version !== undefined) return Number.parseInt(version, 10);
    }
  }
  return undefined;
}
