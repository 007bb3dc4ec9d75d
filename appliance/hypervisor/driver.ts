/**
 * What Rehost asks of a hypervisor. One contract suite (test/contract/hypervisor) runs against every implementation.
 * Every call that makes or removes something is idempotent by name: making what exists with the same owner is an
 * error NAME_TAKEN unless stated otherwise, removing what is not there is success. All sizes are bytes. All errors are RehostError.
 */

export type Acceleration = 'kvm' | 'tcg';
export type Firmware = 'bios' | 'uefi';

/** What a hypervisor says of itself. */
export interface HypervisorFacts {
  /** virConnectGetType: `QEMU` for the libvirt driver. */
  type: string;
  hostname: string;
  /** Host UUID of the capabilities: the key under which probe results are kept. */
  hostId: string;
  libraryVersion: string;
  arch: string;
  /** Domain types that the capabilities offer; whether KVM works is for acceleration.ts to prove. */
  accelerations: Acceleration[];
  firmwares: Firmware[];
}

export interface PoolFacts {
  name: string;
  active: boolean;
  capacityBytes: number;
  availableBytes: number;
}

/** A network of the host: libvirt's own, or a bridge that the administrator made. */
export interface NetworkFacts {
  name: string;
  kind: 'network' | 'bridge';
  active: boolean;
}

/** A volume of a pool. `format` is what Rehost made it as: never probed from its content. */
export interface VolumeRef {
  pool: string;
  name: string;
  format: 'raw' | 'qcow2';
}

export interface VolumeFacts extends VolumeRef {
  path: string;
  capacityBytes: number;
  allocationBytes: number;
  /** Time of the last change of its content, as the host tells it; undefined where it does not (block devices). */
  modifiedAt?: string;
}

export interface DiskSpec {
  volume: VolumeRef;
  /** Shown to the guest, at most 36 characters: how the receiver finds its disks. */
  serial: string;
  /** virtio-scsi takes hot-plugging and passes zeroing and discards on. */
  bus: 'scsi' | 'virtio' | 'sata';
  readonly?: boolean;
  /** Logical sector size that the guest sees; the source disk's own. */
  logicalSectorBytes?: number;
  /** 1 boots first. */
  bootOrder?: number;
}

export interface NicSpec {
  network: string;
  mac?: string;
  model: 'virtio' | 'e1000' | 'e1000e';
}

export interface VmSpec {
  name: string;
  memoryBytes: number;
  cpus: number;
  acceleration: Acceleration;
  firmware: Firmware;
  /** Direct kernel boot from volumes of a pool; nothing secret on the command line. */
  kernel?: { kernel: VolumeRef; initrd: VolumeRef; commandLine: string };
  disks: DiskSpec[];
  nics: NicSpec[];
  /** Text screen for the proof's screenshot; a transfer VM has none. */
  video: boolean;
  owner: Owner;
}

/** Stands in the metadata of every VM that Rehost makes, and in the names of its volumes, so that nothing is orphaned. */
export interface Owner {
  jobId: string;
  role: 'transfer' | 'target' | 'probe';
}

export type VmState = 'absent' | 'shut-off' | 'running' | 'paused' | 'crashed';

export interface OwnedVm {
  name: string;
  owner: Owner;
}

/** An open console: the guest's serial output from now on. */
export interface ConsoleReader {
  /** The next bytes, or undefined at the end. Rejects with HYPERVISOR_REFUSED when the stream breaks. */
  read(): Promise<Buffer | undefined>;
  close(): Promise<void>;
}

export interface HypervisorDriver {
  probe(): Promise<HypervisorFacts>;
  pools(): Promise<PoolFacts[]>;
  networks(): Promise<NetworkFacts[]>;

  /** A raw volume that reads as zero and takes no room yet. POOL_UNKNOWN, NAME_TAKEN, POOL_FULL. */
  createVolume(volume: VolumeRef & { format: 'raw' }, capacityBytes: number): Promise<VolumeFacts>;
  /** Replaces the volume's content from its first byte with a local file's. The volume must be large enough. */
  uploadVolume(volume: VolumeRef, localPath: string): Promise<void>;
  /** A qcow2 volume whose unwritten blocks read from `backing`, whose format is stated, not probed. */
  createOverlay(overlay: VolumeRef & { format: 'qcow2' }, backing: VolumeRef): Promise<VolumeFacts>;
  /** A full copy, made by the host. */
  cloneVolume(from: VolumeRef, to: VolumeRef): Promise<VolumeFacts>;
  /** Undefined where there is none. */
  findVolume(pool: string, name: string): Promise<VolumeFacts | undefined>;
  listVolumes(pool: string): Promise<string[]>;
  deleteVolume(pool: string, name: string): Promise<void>;

  defineVm(spec: VmSpec): Promise<void>;
  startVm(name: string): Promise<void>;
  /** Starts a VM with its console open before its first instruction, so that nothing of its output is missed. The caller closes it. */
  startVmWithConsole(name: string): Promise<ConsoleReader>;
  /** The guest stands still, with its memory, until `resumeVm`. One that stands still already is left alone. HYPERVISOR_REFUSED when it is off. */
  suspendVm(name: string): Promise<void>;
  /** Lets a suspended guest go on; one that runs is left alone. HYPERVISOR_REFUSED when it is off. */
  resumeVm(name: string): Promise<void>;
  /** Asks the guest to shut down; waits until it is off or the deadline passes, then says which. */
  shutdownVm(name: string, deadlineMs: number): Promise<boolean>;
  /** Stops at once and undefines, NVRAM included. Absent is success. Refuses (HYPERVISOR_REFUSED) a VM that carries no owner of ours. */
  destroyVm(name: string): Promise<void>;
  vmState(name: string): Promise<VmState>;
  /** Every VM that carries our metadata. */
  ownedVms(): Promise<OwnedVm[]>;
  /** Failed reads and writes of a transfer VM's disks are told to its guest; a target VM is stopped by a full pool until there is room. */
  attachDisk(vm: string, disk: DiskSpec): Promise<void>;
  /** By serial; returns when the guest has let go of it. */
  detachDisk(vm: string, serial: string): Promise<void>;
  /**
   * How a VM's disks reach the host's storage, known once it was started: `none` past the host's page cache; `writeback` through it, in
   * the VM or in any disk attached since, where the pool's file system has no direct I/O. With `writeback` the re-read that verifies
   * a replica may be answered from the host's memory: a job must say so. NOT_FOUND when there is no such VM.
   */
  cacheMode(vm: string): Promise<'none' | 'writeback'>;
  /** Connects every NIC of a VM that is shut off, or running, to another network. */
  moveNics(vm: string, network: string): Promise<void>;

  /** An isolated network (no uplink, no DHCP, no address on the host) of this name exists and is active afterwards. */
  ensureIsolatedNetwork(name: string): Promise<void>;
  /** PNG of the VM's screen. */
  screenshot(vm: string): Promise<Buffer>;
  console(vm: string): Promise<ConsoleReader>;

  close(): Promise<void>;
}
