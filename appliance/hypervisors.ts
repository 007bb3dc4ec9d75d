/** The hypervisors of the configuration: connected when first needed, connected again when the connection has died. */
import { RehostError, toWire } from './api/errors.ts';
import type { Hypervisor } from './api/rest.ts';
import type { HypervisorConfig } from './config.ts';
import type { Acceleration, HypervisorDriver, VolumeRef } from './hypervisor/driver.ts';
import type { HypervisorHandle, HypervisorRegistry } from './job/dependencies.ts';
import type { Store } from './store/store.ts';

export interface TransferImage {
  kernel: VolumeRef;
  initrd: VolumeRef;
}

export interface Finding {
  acceleration: Acceleration;
  reason: string;
}

/** What the registry needs of the drivers. */
export interface HypervisorKinds {
  /** Connects by URI. HYPERVISOR_UNREACHABLE. The driver is the registry's, which closes it. */
  connect(uri: string): Promise<HypervisorDriver>;
  /** Proves which acceleration works on the handle's host. */
  proveAcceleration(handle: HypervisorHandle, image: () => Promise<TransferImage>): Promise<Finding>;
}

export class Hypervisors implements HypervisorRegistry {
  readonly #configs: readonly HypervisorConfig[];
  readonly #kinds: HypervisorKinds;
  readonly #store: Store;
  readonly #drivers = new Map<string, Promise<HypervisorDriver>>();
  readonly #proofs = new Map<string, Promise<Finding>>();

  /** The first configuration is the default one. */
  constructor(configs: readonly HypervisorConfig[], kinds: HypervisorKinds, store: Store) {
    this.#configs = configs;
    this.#kinds = kinds;
    this.#store = store;
  }

  /** HYPERVISOR_UNKNOWN, HYPERVISOR_UNREACHABLE. */
  async get(name: string | undefined): Promise<HypervisorHandle> {
    const config = name === undefined ? this.#configs[0] : this.#configs.find((known) => known.name === name);
    if (!config) throw new RehostError('HYPERVISOR_UNKNOWN', `There is no hypervisor '${name ?? ''}'.`);
    const { pool, network, isolatedNetwork, transferNetwork, acceleration } = config;
    const driver = await this.#driver(config);
    const chosen = { pool, network, isolatedNetwork, transferNetwork: transferNetwork ?? network, acceleration };
    return { name: config.name, driver, ...chosen };
  }

  /** The configured acceleration, or for `auto` what was proven on this host: once, then remembered durably by the host's id. */
  async acceleration(handle: HypervisorHandle, image: () => Promise<TransferImage>): Promise<Finding> {
    const { acceleration } = handle;
    if (acceleration !== 'auto') return { acceleration, reason: 'chosen in the configuration' };
    const { hostId } = await handle.driver.probe();
    const known = this.#store.data.probes.find((probe) => probe.hostId === hostId);
    if (known) return { acceleration: known.acceleration, reason: known.reason };
    // Jobs that begin at the same time share one proof.
    const running = this.#proofs.get(hostId) ?? this.#prove(hostId, handle, image);
    this.#proofs.set(hostId, running);
    return await running;
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

  async #driver(config: HypervisorConfig): Promise<HypervisorDriver> {
    const known = this.#drivers.get(config.name);
    if (known) {
      try {
        const driver = await known;
        await driver.probe();
        return driver;
      } catch (error) {
        if (toWire(error).code !== 'HYPERVISOR_UNREACHABLE') throw error;
        await this.#discard(config.name, known);
      }
    }
    // Who asks while the connection is made waits for the same one.
    const connecting = this.#drivers.get(config.name) ?? this.#kinds.connect(config.uri);
    this.#drivers.set(config.name, connecting);
    try {
      return await connecting;
    } catch (error) {
      await this.#discard(config.name, connecting);
      throw error;
    }
  }

  /** Forgets a connection that failed or died; a newer one of the same name stays. */
  async #discard(name: string, dead: Promise<HypervisorDriver>): Promise<void> {
    if (this.#drivers.get(name) !== dead) return;
    this.#drivers.delete(name);
    const [connected] = await Promise.allSettled([dead]);
    if (connected.status === 'fulfilled') await connected.value.close();
  }

  async #prove(hostId: string, handle: HypervisorHandle, image: () => Promise<TransferImage>): Promise<Finding> {
    try {
      const finding = await this.#kinds.proveAcceleration(handle, image);
      const { acceleration, reason } = finding;
      const probe = { hostId, acceleration, reason, at: new Date().toISOString() };
      await this.#store.update((draft) => {
        draft.probes = [...draft.probes.filter((known) => known.hostId !== hostId), probe];
      });
      return finding;
    } finally {
      this.#proofs.delete(hostId);
    }
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

  #known(config: HypervisorConfig, hostId: string): Pick<Hypervisor, 'acceleration' | 'accelerationReason'> {
    if (config.acceleration !== 'auto') {
      return { acceleration: config.acceleration, accelerationReason: 'chosen in the configuration' };
    }
    const probe = this.#store.data.probes.find((known) => known.hostId === hostId);
    if (probe) return { acceleration: probe.acceleration, accelerationReason: probe.reason };
    return { acceleration: null, accelerationReason: 'not proven yet; the first job on this host does' };
  }
}
