/** What a guest says it is (os-release(5)). */
import { kindOf, readText } from './guest-files.ts';

export interface OsRelease {
  /** ID first, then ID_LIKE; lower case. Empty when the guest does not say. */
  families: string[];
  /** For people: printable, bounded. */
  prettyName: string;
}

const NAME_MAX = 100;

/** Reads os-release of the root mounted at `root`; undefined when this is no operating system's root. */
export async function readOsRelease(root: string): Promise<OsRelease | undefined> {
  const text = (await readText(root, '/etc/os-release')) ?? (await readText(root, '/usr/lib/os-release'));
  if (text !== undefined) return parseOsRelease(text);
  // A root whose /usr is elsewhere, or one older than os-release.
  const version = await readText(root, '/etc/debian_version');
  if (version !== undefined) return { families: ['debian'], prettyName: printable(`Debian ${version.trim()}`) };
  const hasInit = (await kindOf(root, '/sbin/init')) !== undefined;
  const hasFstab = (await kindOf(root, '/etc/fstab')) !== undefined;
  return hasInit && hasFstab ? { families: [], prettyName: 'an unnamed Linux' } : undefined;
}

/** Shell-like assignments; quotes and backslashes as os-release(5) allows them. */
export function parseOsRelease(text: string): OsRelease {
  const fields = new Map<string, string>();
  for (const line of text.split('\n')) {
    const match = /^\s*([A-Z][A-Z0-9_]*)=(.*)$/.exec(line);
    if (match?.[1] !== undefined) fields.set(match[1], unquote((match[2] ?? '').trim()));
  }
  const id = (fields.get('ID') ?? '').toLowerCase();
  const like = (fields.get('ID_LIKE') ?? '').toLowerCase().split(/\s+/);
  return {
    families: [id, ...like].filter((family) => /^[a-z0-9._-]{1,64}$/.test(family)),
    prettyName: printable(fields.get('PRETTY_NAME') ?? fields.get('NAME') ?? (id || 'an unnamed Linux')),
  };
}

/** Is it Debian, or made from it? */
export function isDebianLike({ families }: OsRelease): boolean {
  return families.includes('debian') || families.includes('ubuntu');
}

function unquote(value: string): string {
  const quote = value[0];
  if (value.length >= 2 && (quote === '"' || quote === "'") && value.endsWith(quote)) {
    const inner = value.slice(1, -1);
    return quote === '"' ? inner.replaceAll(/\\(["$`\\])/g, '$1') : inner;
  }
  return value;
}

function printable(name: string): string {
  return name.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, NAME_MAX);
}
