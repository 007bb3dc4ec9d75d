/**
 * Which acceleration a hypervisor's VMs get. That /dev/kvm exists proves nothing: machines exist where KVM makes VMs that hang.
 * So the transfer image is booted under KVM once per host, and has to say something in time.
 */
import { randomBytes } from 'node:crypto';
import { RehostError } from '../api/errors.ts';
import type { Acceleration, ConsoleReader, HypervisorDriver, VolumeRef } from './driver.ts';

/** What the administrator asks for. */
export type AccelerationWish = 'auto' | Acceleration;

export interface AccelerationChoice {
  acceleration: Acceleration;
  /** Why, one sentence for a person. */
  reason: string;
}

/** Results by HypervisorFacts.hostId, kept by the caller. */
export interface AccelerationMemory {
  load(hostId: string): Promise<AccelerationChoice | undefined>;
  save(hostId: string, choice: AccelerationChoice): Promise<void>;
}

/** The transfer image on the hypervisor. */
export interface ProbeImage {
  kernel: VolumeRef;
  initrd: VolumeRef;
}

export interface ProbeResult {
  booted: boolean;
  /** One sentence: what was seen, and after how long. */
  evidence: string;
}

/** With this on its command line the transfer image prints the marker and stops. */
const PROBE_COMMAND_LINE = 'console=ttyS0 rehost.probe=1 panic=-1';
const MARKER = 'REHOST-PROBE-OK';
/** How long the transfer image may take to say that it runs, ms. Under KVM it takes two seconds, under emulation ten. */
export const PROBE_DEADLINE_MS = 20_000;
const PROBE_MEMORY_BYTES = 512 * 1024 * 1024;

/** Answers a fixed wish as it is; for `auto` what is remembered of the host, else what a probe shows, which is then remembered. */
export async function chooseAcceleration(
  driver: HypervisorDriver,
  wish: AccelerationWish,
  image: ProbeImage,
  memory: AccelerationMemory,
  deadlineMs = PROBE_DEADLINE_MS,
): Promise<AccelerationChoice> {
  if (wish !== 'auto') return { acceleration: wish, reason: `The configuration asks for ${wish}.` };
  const facts = await driver.probe();
  if (!facts.accelerations.includes('kvm')) {
    return { acceleration: 'tcg', reason: `libvirt on ${facts.hostname} offers no KVM: software emulation is used.` };
  }
  const known = await memory.load(facts.hostId);
  if (known !== undefined) return known;
  const { booted, evidence } = await bootProbe(driver, image, 'kvm', deadlineMs);
  const choice: AccelerationChoice = booted
    ? { acceleration: 'kvm', reason: `KVM works on ${facts.hostname}: ${evidence}` }
    : {
        acceleration: 'tcg',
        reason: `KVM does not work on ${facts.hostname}, software emulation is used: ${evidence}`,
      };
  await memory.save(facts.hostId, choice);
  return choice;
}

/**
 * Boots the transfer image once and removes the VM again. That the VM does not start or say anything is a result;
 * a missing image or a host that cannot be reached is an error.
 */
export async function bootProbe(
  driver: HypervisorDriver,
  image: ProbeImage,
  acceleration: Acceleration,
  deadlineMs: number,
): Promise<ProbeResult> {
  const jobId = `probe${randomBytes(4).toString('hex')}`;
  const name = `rehost-${jobId}`;
  await driver.defineVm({
    name,
    memoryBytes: PROBE_MEMORY_BYTES,
    cpus: 1,
    acceleration,
    firmware: 'bios',
    kernel: { ...image, commandLine: PROBE_COMMAND_LINE },
    disks: [],
    nics: [],
    video: false,
    owner: { jobId, role: 'probe' },
  });
  try {
    return await startAndListen(driver, name, deadlineMs);
  } finally {
    await driver.destroyVm(name);
  }
}

async function startAndListen(driver: HypervisorDriver, name: string, deadlineMs: number): Promise<ProbeResult> {
  const startedAt = Date.now();
  let console: ConsoleReader;
  try {
    console = await driver.startVmWithConsole(name);
  } catch (error) {
    if (error instanceof RehostError && error.code === 'HYPERVISOR_REFUSED') {
      return { booted: false, evidence: error.message.replaceAll(/\s+/g, ' ') };
    }
    throw error;
  }
  try {
    const booted = await listen(console, deadlineMs);
    const seconds = ((Date.now() - startedAt) / 1000).toFixed(1);
    return booted
      ? { booted, evidence: `the transfer image answered after ${seconds} s.` }
      : { booted, evidence: `the transfer image said nothing within ${seconds} s.` };
  } finally {
    await console.close();
  }
}

/** True when the marker came; false at the deadline, or when the console ended before. */
async function listen(console: ConsoleReader, deadlineMs: number): Promise<boolean> {
  const deadline = AbortSignal.timeout(deadlineMs);
  const late = new Promise<'late'>((resolve) => deadline.addEventListener('abort', () => resolve('late')));
  let tail = '';
  for (;;) {
    const piece = await Promise.race([console.read(), late]);
    if (piece === 'late' || piece === undefined) return false;
    tail += piece.toString('latin1');
    if (tail.includes(MARKER)) return true;
    tail = tail.slice(-MARKER.length);
  }
}
