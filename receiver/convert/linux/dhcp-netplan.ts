/** netplan: one file in which every NIC asks for its address by DHCP. Pure. */
import { isInterfaceName } from './network-names.ts';

/** `addresses:` with a prefix length behind an address, inline or as a list: those of name servers have none. */
const STATIC_ADDRESS =
  /^\s*(?:-\s*)?"?addresses"?\s*:\s*(?:\[[^\]]*\/\d|(?:#.*)?\n(?:\s*(?:#.*)?\n)*\s*-\s*["']?[0-9a-f.:]+\/\d)/im;

/**
 * The text of the file that replaces all others, or undefined when none of them has a static address. NICs are found by
 * MAC, so that the name does not matter. The renderer (networkd or NetworkManager) is kept.
 */
export function dhcpNetplan(
  texts: readonly string[],
  nics: readonly { name: string; mac: string }[],
): string | undefined {
  if (!texts.some((text) => STATIC_ADDRESS.test(text))) return undefined;
  const renderer = texts.some((text) => /^\s*renderer\s*:\s*"?NetworkManager"?/m.test(text))
    ? 'NetworkManager'
    : 'networkd';
  const lines = [
    '# Written by Rehost: the former files are in /etc/netplan.rehost-orig.',
    'network:',
    '  version: 2',
    `  renderer: ${renderer}`,
    '  ethernets:',
  ];
  for (const [index, nic] of nics.entries()) {
    const id = isInterfaceName(nic.name) ? nic.name : `nic${index}`;
    lines.push(`    "${id}":`, '      match:', `        macaddress: "${nic.mac.toLowerCase()}"`, '      dhcp4: true');
  }
  return nics.length > 0 ? `${lines.join('\n')}\n` : undefined;
}
