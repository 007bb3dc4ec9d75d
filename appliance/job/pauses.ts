/** How long the engine waits: before it tries something again, and for those who are away. ms. */
export interface EnginePauses {
  /** After a clean-up that failed. */
  cleanUpMs: number;
  /** After a record that could not be written: a full disk is a person's to mend, and the job waits for it. */
  saveMs: number;
  /** Before a copy that found no room to begin is begun again. */
  poolFullMs: number;
  /** Between two looks at what runs elsewhere: a copy, a conversion, a boot. */
  pollMs: number;
  /** Between two looks for a hypervisor that does not answer. */
  hypervisorMs: number;
  /** Bound: a hypervisor that does not answer. Updates and reboots of a host take minutes; what runs on it lives through a restart of libvirtd. */
  hypervisorAwayMs: number;
  /** Bound: a receiver that does not answer although its VM runs. The data connections do not need the control channel meanwhile. */
  receiverAwayMs: number;
  /** An agent that is away for less is not spoken of: channels break and come back. */
  agentQuietMs: number;
  /** Bound: a source machine that is away. A person has to boot it into the agent again and to approve it: the next working day. */
  agentAwayMs: number;
}

export const PAUSES: EnginePauses = {
  cleanUpMs: 15_000,
  saveMs: 15_000,
  poolFullMs: 15_000,
  pollMs: 1000,
  hypervisorMs: 15_000,
  hypervisorAwayMs: 3_600_000,
  receiverAwayMs: 180_000,
  agentQuietMs: 20_000,
  agentAwayMs: 24 * 3_600_000,
};
