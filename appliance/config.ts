/** The configuration of rehostd: one JSON file, whose fields flags and environment variables may override. */
import { join } from 'node:path';
import Type, { type Static } from 'typebox';
import { Check, Errors } from 'typebox/value';
import { RehostError } from './api/errors.ts';
import { GivenName } from './api/job.ts';

const Path = Type.String({ pattern: '^/', maxLength: 4096 });
const Port = Type.Integer({ minimum: 0, maximum: 65535 });
const Address = Type.String({ pattern: '^[0-9A-Fa-f:.]+$', maxLength: 45 });

/** Name of the network for proofs, unless a hypervisor's configuration says otherwise. */
export const ISOLATED_NETWORK = 'rehost-isolated';

export const HypervisorConfig = Type.Object(
  {
    name: GivenName,
    /** libvirt's connection URI. */
    uri: Type.String({ minLength: 1, maxLength: 1024 }),
    /** Storage pool of replicas, overlays and the transfer image, unless an order says otherwise. */
    pool: GivenName,
    /** Network of target VMs after the proof, unless an order says otherwise. */
    network: GivenName,
    /** Network of transfer VMs: reaches sources and orchestrator. `network` where it is left out. */
    transferNetwork: Type.Optional(GivenName),
    /** Network without an uplink on which a target VM proves that it boots; made when it is missing. ISOLATED_NETWORK where it is left out. */
    isolatedNetwork: Type.Optional(GivenName),
    /** `auto`, where it is left out: KVM, if a proof on the host shows that it works. */
    acceleration: Type.Optional(Type.Union([Type.Literal('auto'), Type.Literal('kvm'), Type.Literal('tcg')])),
  },
  { additionalProperties: false },
);
export type HypervisorConfig = Static<typeof HypervisorConfig>;

const PxeConfig = Type.Object(
  {
    /** Interface on which machines boot. */
    interface: Type.String({ pattern: '^[A-Za-z0-9._-]{1,15}$' }),
  },
  { additionalProperties: false },
);

export const Config = Type.Object(
  {
    /** State file, certificates, audit log, job logs. */
    state: Path,
    /** Address that HTTPS (control channels, REST) and the boot files' HTTP listen on. */
    listen: Address,
    port: Port,
    /** Plain HTTP for network boot: boot files only. */
    httpPort: Port,
    /** Address under which sources and transfer VMs reach this appliance. */
    address: Type.String({ pattern: '^[A-Za-z0-9._:-]+$', maxLength: 253 }),
    socket: Path,
    /** Folder of the images that `make images` built. */
    images: Path,
    hypervisors: Type.Array(HypervisorConfig, { minItems: 1, maxItems: 64 }),
    pxe: Type.Union([PxeConfig, Type.Null()]),
  },
  { additionalProperties: false },
);
export type Config = Static<typeof Config>;

/** What holds where nothing is said: an appliance that is its own hypervisor, run from its source tree. */
export const CONFIG_DEFAULTS: Config = {
  state: '/var/lib/rehost',
  listen: '0.0.0.0',
  port: 8443,
  httpPort: 8480,
  address: '127.0.0.1',
  socket: '/run/rehost/rehost.sock',
  images: join(import.meta.dirname, '../out/images'),
  hypervisors: [
    {
      name: 'local',
      uri: 'qemu:///system',
      pool: 'default',
      network: 'default',
    },
  ],
  pxe: null,
};

/** The later layers' fields over the earlier ones'. CONFIG_INVALID names the field and the layer's `source`. */
export function mergeConfig(layers: { source: string; fields: unknown }[]): Config {
  const merged: Record<string, unknown> = { ...CONFIG_DEFAULTS };
  for (const { source, fields } of layers) {
    if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) {
      throw new RehostError('CONFIG_INVALID', `${source} is not a JSON object.`);
    }
    // Checked layer by layer, so that the refusal can say where the field stands.
    check({ ...CONFIG_DEFAULTS, ...fields }, source);
    Object.assign(merged, fields);
  }
  const config = check(merged, 'the configuration');
  const names = config.hypervisors.map((hypervisor) => hypervisor.name);
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined) throw new RehostError('CONFIG_INVALID', `Two hypervisors are named '${twice}'.`);
  return config;
}

function check(value: unknown, source: string): Config {
  if (Check(Config, value)) return value;
  const errors = Errors(Config, value);
  // A field too many is told twice, first as 'schema is false' of the field itself.
  const first = errors.find((error) => error.keyword === 'additionalProperties') ?? errors[0];
  const extra = first?.keyword === 'additionalProperties' ? ` (${first.params.additionalProperties.join(', ')})` : '';
  throw new RehostError(
    'CONFIG_INVALID',
    `${source}: '${first?.instancePath || '/'}' ${first?.message ?? 'does not fit'}${extra}.`,
  );
}
