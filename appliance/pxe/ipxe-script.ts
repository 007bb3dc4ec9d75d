/** The script that iPXE runs on a source machine: loads kernel and initramfs of the agent image over HTTP and starts them. */
import { RehostError } from '../api/errors.ts';
import { type Endpoint, endpointText } from './endpoint.ts';

export interface BootFacts {
  /** Where the agent dials in. */
  orchestrator: Endpoint;
  /** Where the boot files are served over plain HTTP. */
  boot: Endpoint;
  /** SHA-256 of the orchestrator's CA certificate in DER, lower-case hex: what the agent trusts. */
  pin: string;
}

export const SCRIPT_PATH = '/boot/agent.ipxe';
export const KERNEL_PATH = '/boot/agent/vmlinuz';
export const INITRD_PATH = '/boot/agent/initrd';
export const CA_PATH = '/boot/ca.pem';

/** After this many failed loads iPXE gives up, and the firmware goes on with its next boot device. */
const TRIES = 5;
const PAUSE_SECONDS = 5;

/** Address of the script, for what leads iPXE to it. */
export function scriptUrl(boot: Endpoint): string {
  return `http://${endpointText('boot', boot)}${SCRIPT_PATH}`;
}

/**
 * The script's text. REQUEST_INVALID when a fact is not what its field says: nothing else gets into the script.
 * `initrd=initrd` is for UEFI, where the kernel's EFI stub asks iPXE for the file of that name; a BIOS kernel ignores it.
 */
export function agentScript(facts: BootFacts): string {
  const base = `http://${endpointText('boot', facts.boot)}`;
  if (!/^[0-9a-f]{64}$/.test(facts.pin))
    throw new RehostError('REQUEST_INVALID', 'pin is not a SHA-256 in lower-case hex.');
  const commandLine = [
    'initrd=initrd',
    `rehost.orchestrator=${endpointText('orchestrator', facts.orchestrator)}`,
    `rehost.boot=${base}`,
    `rehost.pin=${facts.pin}`,
    // An array of the source must not be assembled: that writes to its members.
    'raid=noautodetect',
    'console=tty0',
    'console=ttyS0,115200',
    'panic=30',
    'quiet',
  ].join(' ');
  return [
    '#!ipxe',
    'echo Rehost: loading the agent',
    'set tries:int32 0',
    ':load',
    'inc tries',
    'imgfree',
    `kernel ${base}${KERNEL_PATH} ${commandLine} || goto failed`,
    `initrd --name initrd ${base}${INITRD_PATH} || goto failed`,
    'boot || goto failed',
    ':failed',
    `iseq \${tries} ${TRIES} && goto stop ||`,
    `echo Rehost: the agent could not be loaded; trying again in ${PAUSE_SECONDS} seconds`,
    `sleep ${PAUSE_SECONDS}`,
    'goto load',
    ':stop',
    `echo Rehost: the agent could not be loaded in ${TRIES} tries; going on with the next boot device`,
    'exit 1',
    '',
  ].join('\n');
}
