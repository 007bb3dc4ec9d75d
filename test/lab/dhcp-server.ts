/** The LAN's own DHCP server, which knows nothing of Rehost and of booting: dnsmasq with a plain range. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { RehostError } from '../../appliance/api/errors.ts';

const START_LIMIT_MS = 20_000;
const POLL_MS = 50;
const RANGE = '10.77.0.100,10.77.0.199,255.255.255.0,1h';

/** Starts it in the namespace; its log goes to the file. It ends with the namespace's processes and keeps no event loop alive. */
export async function startDhcpServer(
  namespace: string,
  address: string,
  router: string,
  logPath: string,
): Promise<void> {
  const log = openSync(logPath, 'wx');
  const child = spawn(
    'ip',
    [
      ...['netns', 'exec', namespace, 'dnsmasq', '--keep-in-foreground', '--conf-file=/dev/null', '--port=0'],
      ...['--log-facility=-', '--log-dhcp', '--leasefile-ro', '--pid-file=', '--no-hosts', '--no-resolv', '--no-ping'],
      ...['--interface=eth0', '--bind-interfaces', `--listen-address=${address}`, `--dhcp-range=${RANGE}`],
      ...['--dhcp-authoritative', `--dhcp-option=option:router,${router}`],
    ],
    { stdio: ['ignore', log, log], env: { ...process.env, LC_ALL: 'C' } },
  );
  closeSync(log);
  child.unref();
  let failure: string | undefined;
  child.once('error', (error) => {
    failure = error.message;
  });
  child.once('exit', (code) => {
    failure = `it ended with ${code ?? 'a signal'}`;
  });
  for (const end = Date.now() + START_LIMIT_MS; !readFileSync(logPath, 'utf8').includes('DHCP, IP range'); ) {
    if (Date.now() > end) failure = `not ready after ${START_LIMIT_MS} ms`;
    if (failure !== undefined) {
      child.kill('SIGKILL');
      const words = readFileSync(logPath, 'utf8').trim();
      throw new RehostError('TOOL_FAILED', `The lab's DHCP server did not start: ${failure}. ${words}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
