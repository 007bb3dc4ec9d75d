/** The LAN's own DHCP server, which knows nothing of Rehost and of booting: dnsmasq with a plain range. */
import { spawn } from 'node:child_process';
import { RehostError } from '../../appliance/api/errors.ts';

const START_LIMIT_MS = 20_000;
const RANGE = '10.77.0.100,10.77.0.199,255.255.255.0,1h';

/** Starts it in the namespace. It ends with the namespace's processes. */
export async function startDhcpServer(
  namespace: string,
  address: string,
  router: string,
): Promise<{ log: () => string }> {
  const child = spawn(
    'ip',
    [
      ...['netns', 'exec', namespace, 'dnsmasq', '--keep-in-foreground', '--conf-file=/dev/null', '--port=0'],
      ...['--log-facility=-', '--log-dhcp', '--leasefile-ro', '--pid-file=', '--no-hosts', '--no-resolv', '--no-ping'],
      ...['--interface=eth0', '--bind-interfaces', `--listen-address=${address}`, `--dhcp-range=${RANGE}`],
      ...['--dhcp-authoritative', `--dhcp-option=option:router,${router}`],
    ],
    { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, LC_ALL: 'C' } },
  );
  let log = '';
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new RehostError('TIMEOUT', `The lab's DHCP server did not start within ${START_LIMIT_MS} ms: ${log}`));
    }, START_LIMIT_MS);
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      log += text;
      if (log.includes('DHCP, IP range')) {
        clearTimeout(timer);
        resolve();
      }
    });
    child.on('error', (cause) => {
      clearTimeout(timer);
      reject(new RehostError('TOOL_FAILED', `The lab's DHCP server did not start: ${cause.message}`, { cause }));
    });
    child.on('exit', (code) => {
      clearTimeout(timer);
      reject(new RehostError('TOOL_FAILED', `The lab's DHCP server ended with ${code ?? 'a signal'}: ${log}`));
    });
  });
  return { log: () => log };
}
