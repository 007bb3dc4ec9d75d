/** interfaces(5): static addresses become DHCP. Pure. */

/** Options of the method `static` that DHCP brings itself or does not know. */
const STATIC_OPTIONS = new Set([
  'address',
  'netmask',
  'broadcast',
  'network',
  'gateway',
  'pointopoint',
  'scope',
  'preferred-lifetime',
  'dad-attempts',
  'dad-interval',
  'dns-nameservers',
  'dns-nameserver',
  'dns-search',
  'dns-domain',
]);

/**
 * `inet static` becomes `inet dhcp` and `inet6 static` becomes `inet6 auto`, without the options that belong to the
 * address. A further static stanza of the same interface, or one of an alias (eth0:1), only added an address: it goes.
 */
export function dhcpInterfaces(text: string): string {
  const lines = text.split('\n').map((line) => ({ line, words: line.trim().split(/\s+/) }));
  const aliases = new Set(
    lines
      .map(({ words }) => words)
      .filter(isStaticStanza)
      .map(([, name = '']) => name)
      .filter(isAlias),
  );
  const out: string[] = [];
  const asked = new Set<string>();
  let state: 'other' | 'converted' | 'dropped' = 'other';
  for (const { line, words } of lines) {
    const [word = '', name = '', family = ''] = words;
    if (isStanzaStart(word)) state = 'other';
    if (isStaticStanza(words)) {
      const first = !isAlias(name) && !asked.has(`${name} ${family}`);
      asked.add(`${name} ${family}`);
      state = first ? 'converted' : 'dropped';
      if (first) out.push(line.replace(/\bstatic\s*$/, family === 'inet6' ? 'auto' : 'dhcp'));
    } else if (/^(?:auto|allow-\S+)$/.test(word) && words.some((each) => aliases.has(each))) {
      const kept = words.filter((each) => !aliases.has(each));
      if (kept.length > 1) out.push(kept.join(' '));
    } else if (state === 'other' || word === '' || word.startsWith('#')) {
      out.push(line);
    } else if (state === 'converted' && !STATIC_OPTIONS.has(word)) {
      out.push(line);
    }
  }
  return out.join('\n');
}

function isStaticStanza([word, name, , method]: readonly string[]): boolean {
  return word === 'iface' && method === 'static' && name !== 'lo';
}

function isAlias(name: string): boolean {
  return name.includes(':');
}

function isStanzaStart(word: string): boolean {
  return /^(?:iface|mapping|auto|source|source-directory|rename|no-auto-down|no-scripts|template|allow-.*)$/.test(word);
}
