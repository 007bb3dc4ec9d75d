/** The hypervisors of the configuration, connected when first needed. */
import { RehostError, toWire } from './api/errors.ts';
import type { Hypervisor } from './api/rest.ts';
import { type HypervisorConfig, ISOLATED_NETWORK } from './config.ts';
import { type AccelerationChoice, chooseAcceleration, type ProbeImage } from './hypervisor/acceleration.ts';
import type { HypervisorDriver } from './hypervisor/driver.ts';
import type { HypervisorHandle, HypervisorRegistry } from './job/dependencies.ts';
import type { Store } from './store/store.ts';

/**
 * Connects by URI; `bridges` are names that the configuration takes for bridges of the host where the host cannot list them.
 * HYPERVISOR_UNREACHABLE. The driver is then the registry's, which closes it.
 */
export type Connect = (uri: string, bridges: readonly string[]) => Promise<HypervisorDriver>;

export class Hypervisors implements HypervisorRegistry {
  readonly #configs: readonly HypervisorConfig[];
  readonly #connect: Connect;
  readonly #store: Store;
  readonly #drivers = new Map<string, Promise<HypervisorDriver>>();
  readonly #proofs = new Map<string, Promise<AccelerationChoice>>();

  /** The first configuration is the default one. */
  constructor(configs: readonly HypervisorConfig[], connect: Connect, store: Store) {
    this.#configs = configs;
    this.#connect = connect;
    this.#store = store;
  }

  /** HYPERVISOR_UNKNOWN, HYPERVISOR_UNREACHABLE. */
  async get(name: string | undefined): Promise<HypervisorHandle> {
    const config = name === undefined ? this.#configs[0] : this.#configs.find((known) => known.name === name);
    if (!config) throw new RehostError('HYPERVISOR_UNKNOWN', `There is no hypervisor '${name ?? ''}'.`);
    const { pool, network } = config;
    return {
      name: config.name,
      driver: await this.#driver(config),
      pool,
      network,
      isolatedNetwork: config.isolatedNetwork ?? ISOLATED_NETWORK,
      transferNetwork: config.transferNetwork ?? network,
      acceleration: config.acceleration ?? 'auto',
    };
  }

  /** The configured acceleration, or for `auto` what was proven on this host: once, then remembered durably by the host's id. */
  async acceleration(handle: HypervisorHandle, image: () => Promise<ProbeImage>): Promise<AccelerationChoice> {
    // Jobs that begin at the same time share one proof.
    const running = this.#proofs.get(handle.name);
    if (running) return await running;
    const proof = image().then((volumes) =>
      chooseAcceleration(handle.driver, handle.acceleration, volumes, {
        load: async (hostId) => this.#remembered(hostId),
        save: (hostId, choice) => this.#remember(hostId, choice),
      }),
    );
    this.#proofs.set(handle.name, proof);
    try {
      return await proof;
    } finally {
      this.#proofs.delete(handle.name);
    }
  }

  /** Every hypervisor as the API shows it; one that cannot be reached says why. */
  async views(): Promise<Hypervisor[]> {
    return await Promise.all(this.#configs.map((config) => this.#view(config)));
  }

  /** Closes every connection. */
  async close(): Promise<void> {
    const drivers = [...this.#drivers.values()];
    this.#drivers.clear();
    for (const connected of await Promise.allSettled(drivers)) {
      if (connected.status === 'fulfilled') await connected.value.close();
    }
  }

  /** The driver opens its connection anew where it died; only a first connection that fails is made again here. */
  async #driver({ name, uri, network, transferNetwork }: HypervisorConfig): Promise<HypervisorDriver> {
    // Who asks while the connection is made waits for the same one.
    const connecting = this.#drivers.get(name) ?? this.#connect(uri, [network, transferNetwork ?? network]);
    this.#drivers.set(name, connecting);
    try {
      return await connecting;
    } catch (error) {
      if (this.#drivers.get(name) === connecting) this.#drivers.delete(name);
      throw error;
    }
  }

  #remembered(hostId: string): AccelerationChoice | undefined {
    const probe = this.#store.data.probes.find((known) => known.hostId === hostId);
    return probe && { acceleration: probe.acceleration, reason: probe.reason };
  }

  async #remember(hostId: string, { acceleration, reason }: AccelerationChoice): Promise<void> {
    const probe = { hostId, acceleration, reason, at: new Date().toISOString() };
    await this.#store.update((draft) => {
      draft.probes = [...draft.probes.filter((known) => known.hostId !== hostId), probe];
    });
  }

  async #view(config: HypervisorConfig): Promise<Hypervisor> {
    const { name, uri } = config;
    try {
      const { driver } = await this.get(name);
      const facts = await driver.probe();
      const [pools, networks] = await Promise.all([driver.pools(), driver.networks()]);
      return {
        name,
        uri,
        reachable: true,
        type: facts.type,
        ...this.#known(config, facts.hostId),
        pools,
        networks,
        error: null,
      };
    } catch (error) {
      const nothing = { type: null, acceleration: null, accelerationReason: null, pools: [], networks: [] };
      return { name, uri, reachable: false, ...nothing, error: toWire(error).message };
    }
  }

  #known(
    { acceleration = 'auto' }: HypervisorConfig,
    hostId: string,
  ): Pick<Hypervisor, 'acceleration' | 'accelerationReason'> {
    if (acceleration !== 'auto') return { acceleration, accelerationReason: 'The configuration asks for it.' };
    const found = this.#remembered(hostId);
    if (found) return { acceleration: found.acceleration, accelerationReason: found.reason };
    return { acceleration: null, accelerationReason: 'Not proven yet; the first job on this host does.' };
  }
}
