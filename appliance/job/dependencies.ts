/** What the job engine needs of the rest of the orchestrator. main.ts wires it; tests wire real parts too. */
import type { AGENT_METHODS, ORCHESTRATOR_METHODS, RECEIVER_METHODS } from '../api/control.ts';
import type { Job } from '../api/job.ts';
import type { Peer } from '../api/peer.ts';
import type { Machine } from '../api/rest.ts';
import type { Acceleration, HypervisorDriver } from '../hypervisor/driver.ts';

export type AgentPeer = Peer<typeof AGENT_METHODS, typeof ORCHESTRATOR_METHODS>;
export type ReceiverPeer = Peer<typeof RECEIVER_METHODS, typeof ORCHESTRATOR_METHODS>;

/** Durable jobs. `save` resolves only when the record is on disk. */
export interface JobStore {
  all(): Job[];
  save(job: Job): Promise<void>;
}

/** Approved agents that are dialled in. */
export interface AgentRegistry {
  get(machineId: string): AgentPeer | undefined;
  /** AGENT_LOST after the deadline, ms. */
  waitFor(machineId: string, deadlineMs: number, signal: AbortSignal): Promise<AgentPeer>;
}

/** Receivers of transfer VMs. */
export interface ReceiverRegistry {
  /** Makes a one-time enrolment secret for this job; an earlier one and its session are void. Durable. */
  expect(jobId: string): Promise<Buffer>;
  /** Has the job's receiver used its secret already? Survives a restart of the orchestrator. */
  enrolled(jobId: string): boolean;
  get(jobId: string): ReceiverPeer | undefined;
  /** TRANSFER_VM_SILENT after the deadline, ms. */
  waitFor(jobId: string, deadlineMs: number, signal: AbortSignal): Promise<ReceiverPeer>;
  forget(jobId: string): Promise<void>;
}

/** One hypervisor of the configuration, connected. */
export interface HypervisorHandle {
  name: string;
  driver: HypervisorDriver;
  pool: string;
  network: string;
  isolatedNetwork: string;
  /** Network of transfer VMs: reaches the sources and the orchestrator. */
  transferNetwork: string;
  acceleration: 'auto' | Acceleration;
}

export interface HypervisorRegistry {
  /** The named hypervisor or the default one. HYPERVISOR_UNKNOWN, HYPERVISOR_UNREACHABLE. */
  get(name: string | undefined): Promise<HypervisorHandle>;
  /** What works on this host, proven once and remembered: the transfer image's volumes are handed in for the proof. */
  acceleration(
    handle: HypervisorHandle,
    image: () => Promise<{
      kernel: import('../hypervisor/driver.ts').VolumeRef;
      initrd: import('../hypervisor/driver.ts').VolumeRef;
    }>,
  ): Promise<{ acceleration: Acceleration; reason: string }>;
}

export interface MachineRegistry {
  /** By id, unique id prefix or name. MACHINE_UNKNOWN. */
  find(idOrName: string): Machine;
}

export interface JobDependencies {
  store: JobStore;
  machines: MachineRegistry;
  agents: AgentRegistry;
  receivers: ReceiverRegistry;
  hypervisors: HypervisorRegistry;
  /** Folder of the images that `make images` built. */
  imageDir: string;
  /** Logs, screenshots and the transfer key live below it. */
  stateDir: string;
  caPem: string;
  /** Where transfer VMs reach the orchestrator. */
  controlAddress: { host: string; port: number };
  /** The orchestrator's own log: for what a job's log cannot take. */
  warn(text: string): void;
  audit(entry: { who: string; what: string; subject: string; result: string }): Promise<void>;
}
