/** Looks into the running target VM over the address that it kept. */
import type { SshTarget } from '../lab/ssh.ts';
import { ssh, waitForSsh } from '../lab/ssh.ts';
import type { CloneFacts } from './report.ts';

const LOGIN_LIMIT_MS = 300_000;
/** SHA-256 over a GiB under emulation takes a minute or two. */
const MANIFEST_LIMIT_MS = 900_000;

/** Verifies the manifest inside the target and asks it for its names. `from` is a namespace on its network. */
export async function inspectTarget(
  from: { namespace: string },
  target: SshTarget,
  nicMac: string,
): Promise<CloneFacts['target']> {
  await waitForSsh(from, target, LOGIN_LIMIT_MS);
  const ask = async (command: string, limitMs = 120_000) => (await ssh(from, target, command, limitMs)).trim();
  // Waits for the boot to end; `degraded` makes it exit non-zero, and the word is the answer either way.
  const systemState = await ask('systemctl is-system-running --wait || true', LOGIN_LIMIT_MS);
  const links = JSON.parse(await ask('ip -j address show')) as {
    ifname: string;
    address: string;
    addr_info: { family: string; local: string; prefixlen: number }[];
  }[];
  const nic = links.find((link) => link.address === nicMac);
  const ipv4 = nic?.addr_info.find((address) => address.family === 'inet');
  const verified = await ask(
    'cd /srv/data && sha256sum --check --strict MANIFEST.sha256 | grep -c ": OK$"',
    MANIFEST_LIMIT_MS,
  );
  return {
    hostName: await ask('hostname'),
    address: ipv4 ? `${ipv4.local}/${ipv4.prefixlen}` : '',
    nicName: nic?.ifname ?? '',
    filesVerified: Number(verified),
    rootSource: await ask('findmnt --noheadings --output SOURCE /'),
    kernelCommandLine: await ask('cat /proc/cmdline'),
    systemState,
  };
}
