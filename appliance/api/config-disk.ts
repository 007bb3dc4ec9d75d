/**
 * The config disk of a transfer VM: the only way that the orchestrator's address, its CA and the one-time enrolment secret
 * reach a receiver. Layout: CONFIG_DISK_MAGIC, JSON in UTF-8, NUL bytes up to CONFIG_DISK_BYTES.
 */
import Type, { type Static } from 'typebox';
import { Check, Errors } from 'typebox/value';
import { JobId } from './control.ts';
import { RehostError } from './errors.ts';
import { CONFIG_DISK_BYTES, CONFIG_DISK_MAGIC } from './transfer.ts';

const CONFIG_DISK_VERSION = 1;
const IPV4 = '(?:[0-9]{1,3}[.]){3}[0-9]{1,3}';

export const ConfigDisk = Type.Object(
  {
    version: Type.Literal(CONFIG_DISK_VERSION),
    /** Where the receiver dials: a host name or an address without brackets. */
    orchestrator: Type.Object({
      host: Type.String({ minLength: 1, maxLength: 255 }),
      port: Type.Integer({ minimum: 1, maximum: 65535 }),
    }),
    /** The orchestrator's CA, pinned: no other is trusted. */
    caPem: Type.String({ pattern: '^-----BEGIN CERTIFICATE-----', maxLength: 64 * 1024 }),
    jobId: JobId,
    /** One-time enrolment secret, base64. */
    secret: Type.String({ pattern: '^[A-Za-z0-9+/]+={0,2}$', maxLength: 4096 }),
    /** A fixed address for the first network card; without it the transfer image asks by DHCP. */
    network: Type.Optional(
      Type.Object({
        address: Type.String({ pattern: `^${IPV4}/[0-9]{1,2}$` }),
        gateway: Type.Optional(Type.String({ pattern: `^${IPV4}$` })),
      }),
    ),
    /** Port on which the receiver waits for the agent's data connections; without it the kernel chooses one. */
    transferListen: Type.Optional(Type.Integer({ minimum: 1, maximum: 65535 })),
  },
  { additionalProperties: false },
);
export type ConfigDisk = Static<typeof ConfigDisk>;

/** The whole disk, CONFIG_DISK_BYTES long. REQUEST_INVALID names the field that does not fit. */
export function encodeConfigDisk(config: ConfigDisk): Buffer {
  check(config);
  const content = Buffer.from(CONFIG_DISK_MAGIC + JSON.stringify(config), 'utf8');
  if (content.length > CONFIG_DISK_BYTES)
    throw new RehostError(
      'REQUEST_INVALID',
      `The config disk's content has ${content.length} bytes; the limit is ${CONFIG_DISK_BYTES}.`,
    );
  const disk = Buffer.alloc(CONFIG_DISK_BYTES);
  content.copy(disk);
  return disk;
}

/** What a disk says, given its first CONFIG_DISK_BYTES (fewer if it ends earlier). REQUEST_INVALID when it is no config disk. */
export function decodeConfigDisk(bytes: Buffer): ConfigDisk {
  const magic = Buffer.from(CONFIG_DISK_MAGIC, 'utf8');
  if (!bytes.subarray(0, magic.length).equals(magic))
    throw new RehostError('REQUEST_INVALID', 'The config disk does not begin with its magic.');
  const end = bytes.indexOf(0, magic.length);
  const text = bytes.subarray(magic.length, end < 0 ? bytes.length : end).toString('utf8');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new RehostError('REQUEST_INVALID', 'The config disk does not hold JSON after its magic.', { cause });
  }
  return check(value);
}

function check(value: unknown): ConfigDisk {
  if (Check(ConfigDisk, value)) return value;
  const first = Errors(ConfigDisk, value)[0];
  throw new RehostError(
    'REQUEST_INVALID',
    `The config disk's field ${first?.instancePath || '/'} ${first?.message ?? 'does not fit'}.`,
  );
}
