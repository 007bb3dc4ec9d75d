/** What the boot server wrote on the agent image's kernel command line. Nothing secret: a pin is a public hash. */
import { RehostError } from '../appliance/api/errors.ts';

export interface BootParameters {
  /** Where the control channel is. */
  host: string;
  port: number;
  /** Base URL of the boot server, without a slash at its end. */
  bootUrl: string;
  /** SHA-256, lower-case hex, of the orchestrator's CA certificate in DER. */
  pin: string;
}

const NEXT = 'Boot this machine from the orchestrator again; its boot script writes these parameters.';

/** Reads /proc/cmdline's text. REQUEST_INVALID names the parameter that is missing or does not fit. */
export function parseBootParameters(commandLine: string): BootParameters {
  const values = new Map<string, string>();
  for (const word of commandLine.trim().split(/\s+/)) {
    const at = word.indexOf('=');
    if (at > 0 && word.startsWith('rehost.')) values.set(word.slice(0, at), word.slice(at + 1));
  }
  const value = (name: string): string => {
    const found = values.get(name);
    if (found === undefined) throw invalid(name, 'is missing');
    return found;
  };
  const { host, port } = hostAndPort('rehost.orchestrator', value('rehost.orchestrator'));
  const boot = URL.parse(value('rehost.boot'));
  if (boot?.protocol !== 'http:') throw invalid('rehost.boot', 'is not an http URL');
  const pin = value('rehost.pin').toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(pin)) throw invalid('rehost.pin', 'is not 64 hexadecimal digits');
  return { host, port, bootUrl: boot.href.replace(/\/+$/, ''), pin };
}

function hostAndPort(name: string, text: string): { host: string; port: number } {
  // IPv6 addresses stand in brackets.
  const parts = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})$/.exec(text);
  const host = parts?.[1] ?? parts?.[2];
  const port = Number(parts?.[3]);
  if (host === undefined || port < 1 || port > 65535) throw invalid(name, 'is not HOST:PORT');
  return { host, port };
}

function invalid(name: string, what: string): RehostError {
  return new RehostError('REQUEST_INVALID', `The kernel parameter ${name} ${what}.`, { next: NEXT });
}
