/**
 * With `dhcp`: every statically configured NIC asks for its address instead; with `keep` nothing is touched. The old file
 * is kept in a folder beside the one that is read (`interfaces.d.rehost-orig/`), never in it.
 */
import { basename, dirname } from 'node:path';
import { RehostError } from '../../../appliance/api/errors.ts';
import {
  KEPT_SUFFIX,
  keepOriginal,
  kindOf,
  makeFolder,
  readText,
  removeFile,
  replaceKeeping,
  writeText,
} from '../guest-files.ts';
import type { ConversionStep, Guest } from '../step.ts';
import { dhcpKeyfile, dhcpNetworkUnit } from './dhcp-ini.ts';
import { dhcpInterfaces } from './dhcp-interfaces.ts';
import { dhcpNetplan } from './dhcp-netplan.ts';
import { filesIn, ifupdownFiles } from './network-names.ts';

const NETPLAN_FOLDER = '/etc/netplan';
/** Sorts behind cloud-init's 50- and the installers' 00- and 01-; alone in its folder anyway. */
const NETPLAN_FILE = `${NETPLAN_FOLDER}/60-rehost.yaml`;
/** DHCP clients that ifupdown knows (ifup's inet.defn). */
const DHCP_CLIENTS = ['dhclient', 'dhcpcd', 'dhcpcd5', 'udhcpc', 'pump'];

export const networkAddress: ConversionStep = {
  name: 'network-address',
  async applies(guest) {
    return await Promise.resolve(guest.options.network === 'dhcp');
  },
  async apply(guest) {
    const { root } = guest;
    const done: string[] = [];
    for (const path of await ifupdownFiles(root)) {
      if (!(await rewrite(root, path, dhcpInterfaces))) continue;
      await requireDhcpClient(root);
      done.push(path);
    }
    for (const path of await filesIn(root, '/etc/systemd/network', '.network')) {
      if (await rewrite(root, path, dhcpNetworkUnit)) done.push(path);
    }
    for (const path of await filesIn(root, '/etc/NetworkManager/system-connections', '')) {
      if (await rewrite(root, path, dhcpKeyfile)) done.push(path);
    }
    if (await replaceNetplan(guest)) done.push(NETPLAN_FILE);
    const detail =
      done.length > 0
        ? `The NICs ask for their addresses by DHCP now (${done.join(', ')}); the old files are kept beside.`
        : 'No NIC had a static address.';
    return { changed: done.length > 0, detail };
  },
};

/** Applies a pure rewrite to a file. Answers whether it changed. */
async function rewrite(root: string, path: string, toDhcp: (text: string) => string): Promise<boolean> {
  const text = await readText(root, path);
  if (text === undefined) return false;
  const changed = toDhcp(text);
  if (changed === text) return false;
  await replaceKeeping(root, path, changed, keptPath(path));
  return true;
}

/** /etc/x/y.d/z -> /etc/x/y.d.rehost-orig/z; /etc/network itself holds other things: its file is kept beside by suffix. */
function keptPath(path: string): string {
  const folder = dirname(path);
  return folder === '/etc/network' ? `${path}${KEPT_SUFFIX}` : `${folder}${KEPT_SUFFIX}/${basename(path)}`;
}

async function requireDhcpClient(root: string): Promise<void> {
  for (const folder of ['/sbin', '/usr/sbin', '/bin', '/usr/bin']) {
    for (const client of DHCP_CLIENTS) if ((await kindOf(root, `${folder}/${client}`)) === 'file') return;
  }
  throw new RehostError('CONVERSION_FAILED', 'The guest uses ifupdown and has no DHCP client.', {
    next: 'Order the job again with the address kept, or install isc-dhcp-client on the source first.',
  });
}

/** Netplan's files are YAML that builds on each other: one file replaces them all, and they are moved out of the folder. */
async function replaceNetplan(guest: Guest): Promise<boolean> {
  const { root } = guest;
  const old = (await filesIn(root, NETPLAN_FOLDER, '.yaml')).filter((path) => path !== NETPLAN_FILE);
  const texts: string[] = [];
  for (const path of old) texts.push((await readText(root, path)) ?? '');
  const text = dhcpNetplan(texts, guest.options.nics);
  if (text === undefined) return false;
  await makeFolder(root, `${NETPLAN_FOLDER}${KEPT_SUFFIX}`);
  for (const path of old) await keepOriginal(root, path, keptPath(path));
  // netplan warns about files that others can read.
  await writeText(root, NETPLAN_FILE, text, 0o600);
  for (const path of old) await removeFile(root, path);
  return true;
}
