/** systemd.network(5) units and NetworkManager keyfiles: static addresses become DHCP. Pure. */

/** Keys of [Network] that belong to the static address. */
const NETWORK_KEYS = new Set(['Address', 'Gateway', 'DNS', 'Domains', 'DHCP']);
/** Sections that only describe static addresses and the ways out of them. */
const STATIC_SECTIONS = new Set(['Address', 'Route', 'RoutingPolicyRule']);

/** A unit with a static Address= asks for DHCP instead. One without (a bridge's port, a unit that uses DHCP) stays. */
export function dhcpNetworkUnit(text: string): string {
  const lines = sectioned(text);
  const isStatic = lines.some(
    (line) => line.key === 'Address' && (line.section === 'Network' || line.section === 'Address'),
  );
  if (!isStatic) return text;
  // The loopback and a dummy interface have no neighbour that could answer.
  if (lines.some((line) => line.section === 'Match' && line.key === 'Name' && /^(?:lo|dummy\d*)$/.test(line.value)))
    return text;
  const kept = lines.filter(
    (line) => !(line.section === 'Network' && NETWORK_KEYS.has(line.key)) && !STATIC_SECTIONS.has(line.section),
  );
  const header = kept.findIndex((line) => line.section === 'Network' && line.isHeader);
  const out = kept.map((line) => line.text);
  if (header >= 0) out.splice(header + 1, 0, 'DHCP=yes');
  else out.push('[Network]', 'DHCP=yes', '');
  return tidy(out);
}

/** [ipv4] and [ipv6] with method=manual become method=auto, without their addresses, routes and name servers. */
export function dhcpKeyfile(text: string): string {
  const lines = sectioned(text);
  const manual = new Set(
    lines
      .filter((line) => /^ipv[46]$/.test(line.section) && line.key === 'method' && line.value === 'manual')
      .map((line) => line.section),
  );
  if (manual.size === 0) return text;
  return lines
    .filter(
      (line) =>
        !(
          manual.has(line.section) &&
          /^(?:address\d*|addresses|gateway|route\d+(?:_options)?|routes|dns|dns-search)$/.test(line.key)
        ),
    )
    .map((line) => (manual.has(line.section) && line.key === 'method' ? 'method=auto' : line.text))
    .join('\n');
}

interface Line {
  text: string;
  section: string;
  isHeader: boolean;
  /** Empty for headers, comments and blank lines. */
  key: string;
  value: string;
}

function sectioned(text: string): Line[] {
  let section = '';
  return text.split('\n').map((line) => {
    const header = /^\s*\[([^\]]+)\]/.exec(line)?.[1];
    if (header !== undefined) section = header;
    const pair = /^\s*([^#;=\s[][^=]*?)\s*=\s*(.*?)\s*$/.exec(line);
    return { text: line, section, isHeader: header !== undefined, key: pair?.[1] ?? '', value: pair?.[2] ?? '' };
  });
}

/** No more than one blank line where sections were taken out, and one newline at the end. */
function tidy(lines: readonly string[]): string {
  return `${lines
    .join('\n')
    .replaceAll(/\n{3,}/g, '\n\n')
    .trimEnd()}\n`;
}
