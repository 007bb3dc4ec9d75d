/** Networks of the host, and what VMs are connected to. */
import { VIR_ERR } from '../../../native/libvirt/error.ts';
import { RehostError } from '../../api/errors.ts';
import type { NetworkFacts } from '../driver.ts';
import { modifyFlags, readDevices } from './disks.ts';
import { setNetwork } from './domain-xml.ts';
import { bridgesIn } from './local-bridges.ts';
import { checkName } from './names.ts';
import type { LibvirtSession } from './session.ts';
import { add, attributeOf, children, find, parse, root, serialize } from './xml.ts';

/** libvirt's networks, then the host's bridges that belong to none of them. */
export async function listNetworks(session: LibvirtSession): Promise<NetworkFacts[]> {
  const networks: NetworkFacts[] = [];
  const libvirtsOwn = new Set<string>();
  for (const { name, active } of await session.ask('The networks could not be listed', 'networkList')) {
    networks.push({ name, kind: 'network', active });
    const what = `The network ${name} could not be read`;
    const text = await session.askUnless(VIR_ERR.NO_NETWORK, what, 'networkXml', name);
    if (text === undefined) continue;
    const xml = parse(text);
    const bridge = attributeOf(xml, ['bridge'], 'name');
    // With mode='bridge' the network only names a bridge that the administrator made.
    if (bridge !== undefined && attributeOf(xml, ['forward'], 'mode') !== 'bridge') libvirtsOwn.add(bridge);
  }
  for (const bridge of await listBridges(session)) {
    const known = libvirtsOwn.has(bridge.name) || networks.some((network) => network.name === bridge.name);
    if (!known) networks.push({ ...bridge, kind: 'bridge' });
  }
  return networks;
}

/** NETWORK_UNKNOWN when the host has none of this name. */
export async function requireNetwork(session: LibvirtSession, name: string): Promise<NetworkFacts> {
  checkName('network', name);
  const found = (await listNetworks(session)).find((network) => network.name === name);
  if (found !== undefined) return found;
  throw new RehostError('NETWORK_UNKNOWN', `The hypervisor has no network or bridge ${name}.`);
}

/** NAME_TAKEN when there is a network of this name that reaches anything else. */
export async function ensureIsolatedNetwork(session: LibvirtSession, name: string): Promise<void> {
  checkName('network', name);
  const what = `The isolated network ${name} could not be made`;
  const existing = await session.askUnless(VIR_ERR.NO_NETWORK, what, 'networkXml', name);
  if (existing === undefined) {
    const network = root('network');
    add(network, 'name', {}, name);
    // Without forward, ip and dhcp: nothing but a switch. libvirt names the bridge.
    add(network, 'bridge', { stp: 'on', delay: 0 });
    await session.ask(what, 'networkDefine', serialize(network));
    await session.ask(what, 'networkAutostart', name, true);
  } else if (find(parse(existing), 'forward') !== undefined || find(parse(existing), 'ip') !== undefined) {
    throw new RehostError('NAME_TAKEN', `${what}: a network of this name exists and is not isolated.`, {
      next: 'Choose another name for the isolated network.',
    });
  }
  const networks = await session.ask(what, 'networkList');
  if (networks.find((network) => network.name === name)?.active !== true) {
    await session.ask(what, 'networkCreate', name);
  }
}

export async function moveNics(session: LibvirtSession, vm: string, name: string): Promise<void> {
  const network = await requireNetwork(session, name);
  const flags = await modifyFlags(session, vm);
  const what = `The NICs of the VM ${vm} could not be moved to ${name}`;
  for (const nic of children(await readDevices(session, what, vm), 'interface')) {
    for (const source of children(nic, 'source')) nic.removeChild(source);
    setNetwork(nic, network);
    await session.ask(what, 'domainUpdateDevice', vm, serialize(nic), flags);
  }
}

/**
 * Bridges as the host's daemon sees them. Not every libvirt can list interfaces (Debian 13's cannot): then those that this process
 * sees, where the daemon is on this machine, and those that the configuration names.
 */
async function listBridges(session: LibvirtSession): Promise<{ name: string; active: boolean }[]> {
  const what = "The host's interfaces could not be listed";
  const interfaces = await session.askUnless(VIR_ERR.NO_SUPPORT, what, 'interfaceList');
  if (interfaces === undefined) {
    const seen = isLocal(session.uri) ? await bridgesIn('/sys/class/net') : [];
    const named = session.bridges.filter((name) => !seen.some((bridge) => bridge.name === name));
    return [...seen, ...named.map((name) => ({ name, active: true }))];
  }
  const bridges = [];
  for (const one of interfaces) {
    const text = await session.askUnless(VIR_ERR.NO_INTERFACE, what, 'interfaceXml', one.name);
    if (text !== undefined && parse(text).getAttribute('type') === 'bridge') bridges.push(one);
  }
  return bridges;
}

/** A libvirt URI without a host part reaches the daemon of this machine. */
function isLocal(uri: string): boolean {
  return /^[a-z]+(\+unix)?:\/\/\//.test(uri);
}
