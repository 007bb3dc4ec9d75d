/** Which Debian mirror this machine uses: read from its own apt configuration, so that no host name stands in Rehost. */
import { ImageError } from './errors.ts';
import { run } from './run.ts';

/** Debian 13. */
const SUITE = 'trixie';
const DEBIAN_SUITES = /^(?:old|oldold)?stable$|^(?:bookworm|trixie|forky|duke|testing|sid|unstable)$/;

export interface DebianMirrors {
  readonly main: string;
  /** Null when the machine's configuration names no security mirror. */
  readonly security: string | null;
}

/** Picks the mirrors from lines `URI SUITE`, as `apt-get indextargets` prints them. Other repositories are not asked. */
export function pickMirrors(lines: string): DebianMirrors {
  let main: string | null = null;
  let security: string | null = null;
  for (const line of lines.split('\n')) {
    const [uri, suite] = line.trim().split(/\s+/);
    if (uri === undefined || suite === undefined) continue;
    const secured = /^(.*)-security$/.exec(suite)?.[1];
    if (DEBIAN_SUITES.test(suite)) main ??= uri;
    else if (secured !== undefined && DEBIAN_SUITES.test(secured)) security ??= uri;
  }
  if (main === null) {
    throw new ImageError(
      "This machine's apt configuration names no Debian mirror.",
      'Build on Debian 12 or 13, or add a Debian mirror to /etc/apt.',
    );
  }
  return { main, security };
}

/** The mirrors of this machine's apt configuration. */
export async function machineMirrors(): Promise<DebianMirrors> {
  const format = '$(REPO_URI) $(RELEASE)';
  return pickMirrors(await run('apt-get', ['indextargets', '--format', format, 'Created-By: Packages']));
}

/** One-line sources for apt: the release, its updates and its security updates, all checked with `keyring`. */
export function sourcesList(mirrors: DebianMirrors, keyring: string): string {
  const line = (uri: string, suite: string): string => `deb [signed-by=${keyring}] ${uri} ${suite} main\n`;
  const security = mirrors.security === null ? '' : line(mirrors.security, `${SUITE}-security`);
  return line(mirrors.main, SUITE) + line(mirrors.main, `${SUITE}-updates`) + security;
}
