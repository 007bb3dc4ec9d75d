/** The two ends of a copy as they answer the orchestrator: each works on when it is looked at, and says the truth about it. */
import { createHash } from 'node:crypto';
import type { AGENT_METHODS, ParamsOf, RECEIVER_METHODS, ResultOf } from '../../../appliance/api/control.ts';
import { RehostError, toWire } from '../../../appliance/api/errors.ts';
import type { Inventory } from '../../../appliance/api/inventory.ts';
import type { Handlers } from '../../../appliance/api/peer.ts';
import type { MemoryHypervisor, MemoryVm } from '../../lab/orchestrator/memory-hypervisor.ts';

/** Something that takes a few looks until it is done. */
class Work {
  static readonly LOOKS = 2;
  #looks = 0;

  /** `done` is told once, when it becomes so. */
  look(done: () => void): 'running' | 'done' {
    this.#looks++;
    if (this.#looks === Work.LOOKS) done();
    return this.#looks < Work.LOOKS ? 'running' : 'done';
  }
}

/** A source machine: holds a snapshot per job and serves it. Lives on while orchestrators come and go. */
export class SourceEnd {
  readonly snapshots = new Set<string>();
  readonly exports = new Set<string>();
  readonly #spent = new Set<string>();
  readonly #inventory: Inventory;

  constructor(inventory: Inventory) {
    this.#inventory = inventory;
  }

  handlers(): Handlers<typeof AGENT_METHODS> {
    return {
      approved: () => ({}),
      inventory: () => this.#inventory,
      'snapshot.create': ({ jobId, disks }) => this.#snapshot(jobId, disks),
      'snapshot.release': ({ jobId }) => {
        if (this.exports.has(jobId)) throw new RehostError('REQUEST_INVALID', 'The snapshot is being served.');
        this.snapshots.delete(jobId);
        return {};
      },
      'export.start': ({ jobId, token }) => {
        if (!this.snapshots.has(jobId)) throw new RehostError('JOB_UNKNOWN', 'There is no snapshot of this job.');
        if (!this.exports.has(jobId) && this.#spent.has(token)) throw new RehostError('TOKEN_SPENT', 'Used before.');
        this.#spent.add(token);
        this.exports.add(jobId);
        return {};
      },
      'export.status': ({ jobId }) => ({
        running: this.exports.has(jobId),
        connections: this.exports.has(jobId) ? 2 : 0,
        wireBytes: 0,
        exports: this.#inventory.disks.map(({ name, sizeBytes }) => ({ disk: name, sizeBytes, readBytes: 4096 })),
        error: null,
      }),
      'export.stop': ({ jobId }) => {
        if (!this.snapshots.has(jobId)) throw new RehostError('JOB_UNKNOWN', 'Nothing is held for this job.');
        this.exports.delete(jobId);
        return {};
      },
      power: () => ({}),
    };
  }

  #snapshot(jobId: string, disks: string[]): ResultOf<typeof AGENT_METHODS, 'snapshot.create'> {
    this.snapshots.add(jobId);
    return {
      provider: 'offline',
      timestamp: '2026-01-02T03:04:05.000Z',
      disks: disks.map((disk) => ({
        disk,
        sizeBytes: this.#inventory.disks.find(({ name }) => name === disk)?.sizeBytes ?? 0,
        identity: createHash('sha256').update(disk).digest('hex'),
      })),
    };
  }
}

type CopyDisks = ParamsOf<typeof RECEIVER_METHODS, 'copy.start'>['disks'];

/** The guest of a transfer VM: what it knows is gone with the VM. */
export class TransferGuest {
  sessionKey: string | undefined;
  #copying: { disks: CopyDisks; work: Work } | undefined;
  #copied = false;
  #verifying: Work | undefined;
  #verified = false;
  #converting: { serials: string[]; work: Work } | undefined;
  readonly #vm: MemoryVm;
  readonly #hypervisor: MemoryHypervisor;
  readonly #source: SourceEnd;
  readonly #conversion: () => RehostError | undefined;

  /** `conversion` says what is wrong with the guest system, if anything. */
  constructor(
    vm: MemoryVm,
    hypervisor: MemoryHypervisor,
    source: SourceEnd,
    conversion: () => RehostError | undefined,
  ) {
    this.#vm = vm;
    this.#hypervisor = hypervisor;
    this.#source = source;
    this.#conversion = conversion;
  }

  handlers(): Handlers<typeof RECEIVER_METHODS> {
    return {
      'copy.start': ({ disks }) => {
        for (const { serial } of disks) this.#hypervisor.diskOf(this.#vm, serial);
        this.#copying ??= { disks, work: new Work() };
        return { addresses: ['192.0.2.7'], port: 10809 };
      },
      'copy.status': ({ jobId }) => this.#copyStatus(jobId),
      'verify.start': () => {
        if (!this.#copied) throw new RehostError('REQUEST_INVALID', 'There is no finished copy to verify.');
        this.#verifying ??= new Work();
        return {};
      },
      'verify.status': () => this.#verifyStatus(),
      'copy.release': () => ({}),
      'convert.start': ({ disks }) => {
        const serials = disks.map(({ serial }) => serial);
        for (const serial of serials) this.#hypervisor.diskOf(this.#vm, serial);
        this.#converting ??= { serials, work: new Work() };
        return {};
      },
      'convert.status': () => this.#convertStatus(),
      'job.stop': () => ({}),
    };
  }

  #copyStatus(jobId: string): ResultOf<typeof RECEIVER_METHODS, 'copy.status'> {
    if (!this.#copying) return { progress: 'idle', disks: [], wireBytes: 0, reconnects: 0, error: null };
    const { disks, work } = this.#copying;
    // Nothing comes while nobody serves.
    const serving = this.#source.exports.has(jobId);
    const progress = serving || this.#copied ? work.look(() => this.#finishCopy(disks)) : 'running';
    const bytes = this.#copied ? 4096 : 0;
    const state = { usedBytes: 4096, copiedBytes: bytes, zeroBytes: 0, flushedBytes: bytes };
    return {
      progress,
      disks: disks.map(({ disk, sizeBytes }) => ({ disk, sizeBytes, ...state })),
      wireBytes: bytes,
      reconnects: 0,
      error: null,
    };
  }

  #finishCopy(disks: CopyDisks): void {
    for (const { serial } of disks) {
      this.#hypervisor.write(this.#hypervisor.diskOf(this.#vm, serial), Buffer.from('copy'));
    }
    this.#copied = true;
  }

  #verifyStatus(): ResultOf<typeof RECEIVER_METHODS, 'verify.status'> {
    const progress = this.#verifying?.look(() => {
      this.#verified = true;
    });
    const disks = this.#verified ? (this.#copying?.disks ?? []) : [];
    const manifests = disks.map(({ disk }) => ({ disk, sha256: 'ab'.repeat(32), pieces: 1, bytes: 4096 }));
    return { progress: progress ?? 'idle', checkedBytes: 4096, totalBytes: 4096, manifests, error: null };
  }

  #convertStatus(): ResultOf<typeof RECEIVER_METHODS, 'convert.status'> {
    if (!this.#converting) return { progress: 'idle', steps: [], guest: '', error: null };
    const { serials, work } = this.#converting;
    const broken = this.#conversion();
    const step = { step: 'initramfs', detail: 'looked at', seconds: 0.1 };
    const guest = 'Debian GNU/Linux 13';
    if (broken) {
      return { progress: 'failed', steps: [{ ...step, outcome: 'failed' }], guest, error: toWire(broken) };
    }
    const progress = work.look(() => {
      for (const serial of serials) {
        this.#hypervisor.write(this.#hypervisor.diskOf(this.#vm, serial), Buffer.from('converted'));
      }
    });
    return { progress, steps: [{ ...step, outcome: 'changed' }], guest, error: null };
  }
}
