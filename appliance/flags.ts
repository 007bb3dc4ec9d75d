/** rehostd's configuration out of flags, environment, file and defaults: the earlier of these wins. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { RehostError, toWire } from './api/errors.ts';
import { type Config, mergeConfig } from './config.ts';
import { ownAddress } from './own-address.ts';

interface Flag {
  /** Field of the configuration; none for --config. */
  readonly field?: keyof Config;
  readonly kind: 'text' | 'path' | 'number' | 'interface';
  readonly help: string;
}

const FLAGS: Readonly<Record<string, Flag>> = {
  config: { kind: 'path', help: 'JSON file with any of the fields of the configuration' },
  state: { field: 'state', kind: 'path', help: 'folder of state, certificates and logs; /var/lib/rehost' },
  listen: { field: 'listen', kind: 'text', help: 'address to listen on; 0.0.0.0' },
  port: { field: 'port', kind: 'number', help: 'port of control channels and REST over HTTPS; 8443' },
  'http-port': { field: 'httpPort', kind: 'number', help: 'port of the boot files over plain HTTP; 8480' },
  address: {
    field: 'address',
    kind: 'text',
    help: "address under which machines reach this appliance; the boot interface's",
  },
  socket: { field: 'socket', kind: 'path', help: 'unix socket of the local REST API; /run/rehost/rehost.sock' },
  images: { field: 'images', kind: 'path', help: 'folder of the transfer and agent images' },
  'pxe-interface': { field: 'pxe', kind: 'interface', help: 'offer network boot on this interface' },
};

/** Text of `rehostd --help`. */
export function flagsHelp(): string {
  const lines = Object.entries(FLAGS).map(([name, { help }]) => `  --${name.padEnd(14)} ${help} (${variableOf(name)})`);
  return ['Usage: rehostd [flags]', '', ...lines, '  --help, --version'].join('\n');
}

export interface CommandLine {
  config: Config;
  /** `help` or `version` was asked for: nothing is to be started. */
  asked: 'help' | 'version' | undefined;
}

/** CONFIG_INVALID names the flag, variable or file. Relative paths count from the working folder. */
export async function readConfig(
  argv: string[],
  environment: Record<string, string | undefined>,
): Promise<CommandLine> {
  const flags = readFlags(argv);
  const text = (name: string): string | undefined => flags[name] ?? environment[variableOf(name)];
  const layers: { source: string; fields: unknown }[] = [];
  const file = text('config');
  if (file !== undefined) layers.push({ source: file, fields: await readFields(file) });
  for (const [name, flag] of Object.entries(FLAGS)) {
    const value = text(name);
    if (flag.field === undefined || value === undefined) continue;
    const source = flags[name] === undefined ? variableOf(name) : `--${name}`;
    layers.push({ source, fields: { [flag.field]: convert(flag.kind, value, source) } });
  }
  const asked = flags.help !== undefined ? 'help' : flags.version !== undefined ? 'version' : undefined;
  const given = mergeConfig(layers);
  const address = { source: 'the address of this machine', fields: { address: ownAddress(given.pxe?.interface) } };
  return { config: mergeConfig([address, ...layers]), asked };
}

/** `--http-port` is REHOST_HTTP_PORT. */
function variableOf(name: string): string {
  return `REHOST_${name.toUpperCase().replaceAll('-', '_')}`;
}

function readFlags(argv: string[]): Record<string, string | undefined> {
  const text = Object.fromEntries(Object.keys(FLAGS).map((name) => [name, { type: 'string' } as const]));
  try {
    const { values } = parseArgs({
      args: argv,
      options: { ...text, help: { type: 'boolean', short: 'h' }, version: { type: 'boolean' } },
    });
    return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, String(value)]));
  } catch (error) {
    throw new RehostError('CONFIG_INVALID', toWire(error).message);
  }
}

async function readFields(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    throw new RehostError('CONFIG_INVALID', `The configuration file cannot be read: ${toWire(cause).message}.`, {
      cause,
    });
  }
}

function convert(kind: Flag['kind'], value: string, source: string): unknown {
  if (kind === 'path') return resolve(value);
  if (kind === 'interface') return { interface: value };
  if (kind === 'text') return value;
  if (!/^[0-9]{1,6}$/.test(value)) throw new RehostError('CONFIG_INVALID', `${source}: '${value}' is not a number.`);
  return Number(value);
}
