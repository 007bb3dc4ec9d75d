/**
 * A hypervisor in memory that keeps the rules of its interface, for tests of what is built on it. It also watches over what nobody
 * may ever do: what it sees is told in `violations`.
 */
import { readFile } from 'node:fs/promises';
import { RehostError } from '../../../appliance/api/errors.ts';
import type {
  ConsoleReader,
  DiskSpec,
  HypervisorDriver,
  HypervisorFacts,
  NetworkFacts,
  OwnedVm,
  Owner,
  PoolFacts,
  VmSpec,
  VmState,
  VolumeFacts,
  VolumeRef,
} from '../../../appliance/hypervisor/driver.ts';
import { MemoryConsole } from './memory-console.ts';

interface Volume {
  facts: VolumeFacts;
  /** What was uploaded, or which guest's work it holds. */
  content: Buffer;
  backing?: string;
}

export interface MemoryVm {
  name: string;
  /** Undefined for a VM that somebody else made. */
  owner: Owner | undefined;
  disks: DiskSpec[];
  nics: VmSpec['nics'];
  state: VmState;
  consoles: MemoryConsole[];
  /** How often its state was asked since it was started: what a guest's time is made of. */
  looks: number;
}

const GIB = 1024 ** 3;
const POOL = 'default';

export class MemoryHypervisor implements HypervisorDriver {
  readonly vms = new Map<string, MemoryVm>();
  readonly volumes = new Map<string, Volume>();
  readonly knownNetworks = new Map<string, NetworkFacts>();
  readonly violations: string[] = [];
  /** The guest's side of life; set by who plays the guests. */
  onStart: (vm: MemoryVm) => void = () => {};
  onStop: (vm: MemoryVm) => void = () => {};
  onLook: (vm: MemoryVm) => void = () => {};
  /** Does a guest obey the power button? */
  obeys: (vm: MemoryVm) => boolean = () => true;
  #writes = 0;

  constructor(networks: readonly string[]) {
    for (const name of networks) this.knownNetworks.set(name, { name, kind: 'network', active: true });
  }

  async probe(): Promise<HypervisorFacts> {
    return {
      type: 'QEMU',
      hostname: 'memory',
      hostId: '00000000-0000-4000-8000-000000000001',
      libraryVersion: '1',
      arch: 'x86_64',
      accelerations: ['tcg'],
      firmwares: ['bios', 'uefi'],
    };
  }

  async pools(): Promise<PoolFacts[]> {
    return [{ name: POOL, active: true, capacityBytes: 100 * GIB, availableBytes: 100 * GIB }];
  }

  async networks(): Promise<NetworkFacts[]> {
    return [...this.knownNetworks.values()];
  }

  async createVolume(volume: VolumeRef & { format: 'raw' }, capacityBytes: number): Promise<VolumeFacts> {
    return this.#makeVolume(volume, capacityBytes, Buffer.alloc(0));
  }

  async uploadVolume(volume: VolumeRef, localPath: string): Promise<void> {
    const content = await readFile(localPath);
    const { facts } = this.#volume(volume);
    if (content.length > facts.capacityBytes) throw new RehostError('REQUEST_INVALID', `${facts.name} is too small.`);
    this.write(volume.name, content);
  }

  async createOverlay(overlay: VolumeRef & { format: 'qcow2' }, backing: VolumeRef): Promise<VolumeFacts> {
    const below = this.#volume(backing);
    const writer = this.#writerOf(backing.name);
    if (writer) this.violations.push(`${overlay.name} made on ${backing.name}, which ${writer} can write`);
    return this.#makeVolume(overlay, below.facts.capacityBytes, Buffer.alloc(0), backing.name);
  }

  async cloneVolume(from: VolumeRef, to: VolumeRef): Promise<VolumeFacts> {
    const { facts, content } = this.#volume(from);
    return this.#makeVolume(to, facts.capacityBytes, content);
  }

  async findVolume(pool: string, name: string): Promise<VolumeFacts | undefined> {
    this.#pool(pool);
    const found = this.volumes.get(name);
    return found && { ...found.facts };
  }

  async listVolumes(pool: string): Promise<string[]> {
    this.#pool(pool);
    return [...this.volumes.keys()];
  }

  async deleteVolume(pool: string, name: string): Promise<void> {
    this.#pool(pool);
    const user = [...this.vms.values()].find(
      (vm) => vm.state !== 'shut-off' && vm.disks.some((d) => d.volume.name === name),
    );
    if (user) this.violations.push(`${name} deleted while ${user.name} runs with it`);
    this.volumes.delete(name);
  }

  async defineVm(spec: VmSpec): Promise<void> {
    if (this.vms.has(spec.name)) throw new RehostError('NAME_TAKEN', `There is a VM ${spec.name} already.`);
    for (const disk of spec.disks) this.#volume(disk.volume);
    for (const nic of spec.nics) this.#network(nic.network);
    const { name, owner } = spec;
    const vm: MemoryVm = { name, owner, disks: [], nics: [], state: 'shut-off', consoles: [], looks: 0 };
    for (const disk of spec.disks) this.#plug(vm, disk);
    vm.nics = spec.nics.map((nic) => ({ ...nic }));
    this.vms.set(name, vm);
  }

  async startVm(name: string): Promise<void> {
    this.#start(this.#vm(name));
  }

  async startVmWithConsole(name: string): Promise<ConsoleReader> {
    const vm = this.#vm(name);
    const console = new MemoryConsole();
    vm.consoles.push(console);
    this.#start(vm);
    return console;
  }

  async suspendVm(name: string): Promise<void> {
    this.#vmThatIsOn(name).state = 'paused';
  }

  async resumeVm(name: string): Promise<void> {
    this.#vmThatIsOn(name).state = 'running';
  }

  async shutdownVm(name: string, deadlineMs: number): Promise<boolean> {
    if (!(deadlineMs > 0)) throw new RehostError('REQUEST_INVALID', 'A wait has an end.');
    const vm = this.vms.get(name);
    if (vm?.state !== 'running') return true;
    if (!this.obeys(vm)) return false;
    this.#stop(vm);
    return true;
  }

  async destroyVm(name: string): Promise<void> {
    const vm = this.vms.get(name);
    if (!vm) return;
    if (!vm.owner) {
      this.violations.push(`${name} was to be destroyed and is nobody's`);
      throw new RehostError('HYPERVISOR_REFUSED', `The VM ${name} was not made by Rehost and is not removed.`);
    }
    this.#stop(vm);
    this.vms.delete(name);
  }

  async vmState(name: string): Promise<VmState> {
    const vm = this.vms.get(name);
    if (!vm) return 'absent';
    vm.looks++;
    this.onLook(vm);
    return vm.state;
  }

  async ownedVms(): Promise<OwnedVm[]> {
    return [...this.vms.values()].flatMap(({ name, owner }) => (owner ? [{ name, owner }] : []));
  }

  async attachDisk(name: string, disk: DiskSpec): Promise<void> {
    const vm = this.#vm(name);
    if (!vm.owner) throw new RehostError('HYPERVISOR_REFUSED', `The VM ${name} was not made by Rehost.`);
    if (vm.disks.some((one) => one.serial === disk.serial)) {
      throw new RehostError('NAME_TAKEN', `${name} has a disk ${disk.serial} already.`);
    }
    this.#volume(disk.volume);
    this.#plug(vm, disk);
  }

  async detachDisk(name: string, serial: string): Promise<void> {
    const vm = this.#vm(name);
    vm.disks = vm.disks.filter((disk) => disk.serial !== serial);
  }

  async cacheMode(name: string): Promise<'none' | 'writeback'> {
    this.#vm(name);
    return 'none';
  }

  async moveNics(name: string, network: string): Promise<void> {
    const vm = this.#vm(name);
    this.#network(network);
    if (vm.state !== 'shut-off') this.violations.push(`${name} was moved to ${network} while it runs`);
    for (const nic of vm.nics) nic.network = network;
  }

  async ensureIsolatedNetwork(name: string): Promise<void> {
    this.knownNetworks.set(name, { name, kind: 'network', active: true });
  }

  async screenshot(name: string): Promise<Buffer> {
    if (this.#vm(name).state !== 'running') throw new RehostError('HYPERVISOR_REFUSED', `The VM ${name} is off.`);
    return Buffer.from('89504e470d0a1a0a', 'hex');
  }

  async console(name: string): Promise<ConsoleReader> {
    const vm = this.#vm(name);
    if (vm.state !== 'running') throw new RehostError('HYPERVISOR_REFUSED', `The VM ${name} is off.`);
    const console = new MemoryConsole();
    vm.consoles.push(console);
    return console;
  }

  async close(): Promise<void> {}

  /** What a guest, or somebody on the host, writes to a volume: its time of change goes on. */
  write(name: string, content: Buffer): void {
    const volume = this.volumes.get(name);
    if (!volume) throw new Error(`there is no volume ${name} to write to`);
    volume.content = content;
    volume.facts.modifiedAt = String(++this.#writes);
  }

  /** The volume that a guest sees under this serial. */
  diskOf(vm: MemoryVm, serial: string): string {
    const disk = vm.disks.find((one) => one.serial === serial);
    if (!disk) throw new RehostError('TARGET_WRITE_FAILED', `The guest has no disk ${serial}.`);
    return disk.volume.name;
  }

  /** The VM ends by itself, as if its QEMU had been killed. */
  crash(name: string): void {
    const vm = this.#vm(name);
    this.#stop(vm);
    vm.state = 'crashed';
  }

  #start(vm: MemoryVm): void {
    if (vm.state === 'running') return;
    for (const nic of vm.nics) {
      if (vm.owner?.role === 'target' && !nic.network.includes('isolated')) {
        this.violations.push(`${vm.name} was started on ${nic.network}, beside its source`);
      }
    }
    vm.state = 'running';
    vm.looks = 0;
    this.onStart(vm);
  }

  #stop(vm: MemoryVm): void {
    if (vm.state === 'running' || vm.state === 'paused') this.onStop(vm);
    vm.state = 'shut-off';
    for (const console of vm.consoles.splice(0)) console.end();
  }

  #plug(vm: MemoryVm, disk: DiskSpec): void {
    const { name } = disk.volume;
    const writer = this.#writerOf(name);
    if (writer && disk.readonly !== true) this.violations.push(`${writer} and ${vm.name} can both write ${name}`);
    const backing = this.volumes.get(name)?.backing;
    const below = backing === undefined ? undefined : this.#writerOf(backing);
    if (below) this.violations.push(`${vm.name} has ${name} while ${below} can write ${backing}`);
    vm.disks.push(disk);
  }

  #writerOf(volume: string): string | undefined {
    for (const vm of this.vms.values()) {
      if (vm.disks.some((disk) => disk.volume.name === volume && disk.readonly !== true)) return vm.name;
    }
    return undefined;
  }

  #makeVolume(volume: VolumeRef, capacityBytes: number, content: Buffer, backing?: string): VolumeFacts {
    this.#pool(volume.pool);
    if (!volume.name.endsWith(`.${volume.format}`) && !volume.name.endsWith('.complete')) {
      throw new RehostError('NAME_INVALID', `${volume.name} does not say that it is ${volume.format}.`);
    }
    if (!(Number.isSafeInteger(capacityBytes) && capacityBytes > 0)) {
      throw new RehostError('REQUEST_INVALID', `capacityBytes: ${capacityBytes}`);
    }
    if (this.volumes.has(volume.name)) throw new RehostError('NAME_TAKEN', `There is a volume ${volume.name} already.`);
    const { pool, name, format } = volume;
    const facts = { pool, name, format, path: `/memory/${name}`, capacityBytes, allocationBytes: 0 };
    const made = { ...facts, modifiedAt: String(++this.#writes) };
    this.volumes.set(name, { facts: made, content, ...(backing === undefined ? {} : { backing }) });
    return { ...made };
  }

  #pool(name: string): void {
    if (name !== POOL) throw new RehostError('POOL_UNKNOWN', `There is no pool ${name}.`);
  }

  #network(name: string): void {
    if (!this.knownNetworks.has(name)) throw new RehostError('NETWORK_UNKNOWN', `There is no network ${name}.`);
  }

  #volume(volume: VolumeRef): Volume {
    this.#pool(volume.pool);
    const found = this.volumes.get(volume.name);
    if (!found) throw new RehostError('NOT_FOUND', `There is no volume ${volume.name}.`);
    if (found.facts.format !== volume.format) {
      throw new RehostError('REQUEST_INVALID', `${volume.name} is ${found.facts.format}, not ${volume.format}.`);
    }
    return found;
  }

  #vmThatIsOn(name: string): MemoryVm {
    const vm = this.#vm(name);
    if (vm.state === 'running' || vm.state === 'paused') return vm;
    throw new RehostError('HYPERVISOR_REFUSED', `The VM ${name} is off.`);
  }

  #vm(name: string): MemoryVm {
    const found = this.vms.get(name);
    if (!found) throw new RehostError('NOT_FOUND', `There is no VM ${name}.`);
    return found;
  }
}
