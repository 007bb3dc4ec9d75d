/**
 * The guest of a transfer VM as it answers the orchestrator. It works on whenever it is looked at, and says the truth about it: what
 * it copied is in the replica, what it recorded is in the journal, and what it knows besides is gone with the VM.
 */
import { createHash } from 'node:crypto';
import type { ParamsOf, RECEIVER_METHODS, ResultOf } from '../../../appliance/api/control.ts';
import { RehostError, toWire } from '../../../appliance/api/errors.ts';
import type { Handlers } from '../../../appliance/api/peer.ts';
import type { MemoryHypervisor, MemoryVm } from '../../lab/orchestrator/memory-hypervisor.ts';
import { FakeJournal, USED_BLOCKS } from './fake-journal.ts';
import type { SourceEnd } from './source-end.ts';

/** How many looks a verification or a conversion takes. */
const LOOKS = 2;
/** A replica that has every block in use. */
export const COPIED = 'copy';
/** Parts of the journal as it is fetched, bytes: more than one. */
const PART_BYTES = 640 * 1024;

type Order = ParamsOf<typeof RECEIVER_METHODS, 'copy.start'>;
type CheckOrder = Pick<Order, 'jobId' | 'disks'> & { journal: string };
type CopyStatus = ResultOf<typeof RECEIVER_METHODS, 'copy.status'>;
type VerifyStatus = ResultOf<typeof RECEIVER_METHODS, 'verify.status'>;

/** What befalls guests; set by the tests. */
export interface Fate {
  /** What is wrong with the guest system, if anything. */
  conversion(): RehostError | undefined;
  /** Why this copy fails when it is looked at, if it does. */
  copy(): RehostError | undefined;
  /** What the source could not read. */
  badRanges: { offset: number; length: number }[];
  /** Which token each copy was begun with. */
  tokens: { token: string; copy: object }[];
  /** What may never be. */
  violations: string[];
}

export class TransferGuest {
  sessionKey: string | undefined;
  #order: Order | undefined;
  #limits: { bytesPerSecond: number | null; paused: boolean } = { bytesPerSecond: null, paused: false };
  /** Blocks that this copy found in the journal. */
  #resumed = 0;
  #copied = false;
  #failed: RehostError | undefined;
  #check: CheckOrder | undefined;
  #checkLooks = 0;
  #converting: { serials: string[]; looks: number } | undefined;
  readonly #vm: MemoryVm;
  readonly #hypervisor: MemoryHypervisor;
  readonly #source: SourceEnd;
  readonly #fate: Fate;

  constructor(vm: MemoryVm, hypervisor: MemoryHypervisor, source: SourceEnd, fate: Fate) {
    this.#vm = vm;
    this.#hypervisor = hypervisor;
    this.#source = source;
    this.#fate = fate;
  }

  get limits(): { bytesPerSecond: number | null; paused: boolean } {
    return this.#limits;
  }

  handlers(): Handlers<typeof RECEIVER_METHODS> {
    return {
      'copy.start': (order) => this.#start(order),
      'copy.status': () => this.#copyStatus(),
      'copy.tune': ({ bytesPerSecond, paused }) => {
        if (!this.#order && !this.#check) throw new RehostError('REQUEST_INVALID', 'Nothing runs here.');
        if (bytesPerSecond !== undefined) this.#limits.bytesPerSecond = bytesPerSecond;
        if (paused !== undefined) this.#limits.paused = paused;
        return {};
      },
      'verify.start': () => {
        const order = this.#order;
        if (!this.#copied || !order) throw new RehostError('TRANSFER_FAILED', 'There is no finished copy to verify.');
        this.#check ??= { jobId: order.jobId, disks: order.disks, journal: order.journal ?? '' };
        return {};
      },
      'verify.replica': ({ jobId, disks, journal }) => {
        for (const { serial } of disks) {
          if (this.#vm.disks.find((disk) => disk.serial === serial)?.readonly !== true)
            this.#fate.violations.push(`the replica ${serial} could be written while it was checked`);
        }
        this.#check ??= { jobId, disks, journal };
        return {};
      },
      'verify.status': () => this.#verifyStatus(),
      'verify.journal': ({ offset }) => {
        const { content } = this.#journal(this.#order);
        return { data: content.subarray(offset, offset + PART_BYTES).toString('base64') };
      },
      'copy.release': () => ({}),
      'convert.start': ({ disks }) => {
        const serials = disks.map(({ serial }) => serial);
        for (const serial of serials) this.#hypervisor.diskOf(this.#vm, serial);
        this.#converting ??= { serials, looks: 0 };
        return {};
      },
      'convert.status': () => this.#convertStatus(),
      'job.stop': () => {
        this.#order = undefined;
        this.#check = undefined;
        this.#copied = false;
        this.#failed = undefined;
        return {};
      },
    };
  }

  #journal(order: { jobId: string; disks: Order['disks']; journal?: string } | undefined): FakeJournal {
    if (order?.journal === undefined) throw new RehostError('REQUEST_INVALID', 'There is no journal.');
    const name = this.#hypervisor.diskOf(this.#vm, order.journal);
    return new FakeJournal(this.#hypervisor, name, order.jobId, order.disks);
  }

  #start(order: Order): ResultOf<typeof RECEIVER_METHODS, 'copy.start'> {
    for (const { serial } of order.disks) this.#hypervisor.diskOf(this.#vm, serial);
    if (this.#order && JSON.stringify(this.#order) !== JSON.stringify(order))
      throw new RehostError('REQUEST_INVALID', 'This transfer VM copies by another order already.');
    if (!this.#order) {
      const journal = this.#journal(order);
      this.#resumed = order.disks.reduce((sum, { disk }) => sum + journal.recorded(disk).length, 0);
      this.#order = order;
      this.#limits = { bytesPerSecond: order.bytesPerSecond ?? null, paused: order.paused ?? false };
      if (this.#fate.tokens.some(({ token }) => token === order.token))
        this.#fate.violations.push('a token was used for two copies');
      this.#fate.tokens.push({ token: order.token, copy: order });
    }
    return { addresses: ['192.0.2.7'], port: 10809 };
  }

  #copyStatus(): CopyStatus {
    const order = this.#order;
    const nothing = { disks: [], wireBytes: 0, reconnects: 0, retries: 0, paused: null, error: null };
    if (!order) return { ...nothing, progress: 'idle' };
    const journal = this.#journal(order);
    // Nothing comes while nobody serves with this copy's key.
    const serving = this.#source.exports.get(order.jobId) === order.token;
    if (!this.#copied && serving && !this.#limits.paused) this.#work(order, journal);
    const blocks = order.disks.map(({ disk }) => journal.recorded(disk).length);
    const paused = this.#limits.paused ? ({ code: 'PAUSED', message: 'Paused as asked.' } as const) : null;
    return {
      ...nothing,
      progress: this.#failed ? 'failed' : this.#copied ? 'done' : 'running',
      disks: order.disks.map(({ disk, sizeBytes }, index) => ({
        disk,
        sizeBytes,
        usedBytes: USED_BLOCKS * 4096,
        copiedBytes: (blocks[index] ?? 0) * 4096,
        zeroBytes: 0,
        flushedBytes: (blocks[index] ?? 0) * 4096,
        resumedBytes: this.#resumed * 4096,
        badRanges: this.#copied ? this.#fate.badRanges : [],
      })),
      wireBytes: blocks.reduce((sum, count) => sum + count, 0) * 4096,
      paused,
      error: this.#failed ? toWire(this.#failed) : null,
    };
  }

  /** One more block of every disk, on stable storage and recorded. */
  #work(order: Order, journal: FakeJournal): void {
    this.#failed ??= this.#fate.copy();
    if (this.#failed) return;
    for (const { disk, serial } of order.disks) {
      const replica = this.#hypervisor.diskOf(this.#vm, serial);
      const next = journal.recorded(disk).length;
      if (next === USED_BLOCKS) continue;
      const before = this.#hypervisor.volumes.get(replica)?.content.toString() ?? '';
      // Only a replica that has the blocks which its journal promises becomes a copy.
      const whole = next + 1 === USED_BLOCKS && before.length === next;
      this.#hypervisor.write(replica, Buffer.from(whole ? COPIED : `${before}#`));
      journal.record(disk, next);
    }
    this.#copied = order.disks.every(({ disk }) => journal.recorded(disk).length === USED_BLOCKS);
  }

  #verifyStatus(): VerifyStatus {
    const check = this.#check;
    const nothing = { checkedBytes: 0, totalBytes: 0, manifests: [], error: null };
    if (!check) return { ...nothing, progress: 'idle' };
    if (!this.#limits.paused) this.#checkLooks++;
    if (this.#checkLooks < LOOKS) return { ...nothing, progress: 'running' };
    const journal = this.#journal(check);
    const wrong = check.disks.find(({ disk, serial }) => {
      const content = this.#hypervisor.volumes.get(this.#hypervisor.diskOf(this.#vm, serial))?.content.toString();
      return content !== COPIED || journal.recorded(disk).length !== USED_BLOCKS;
    });
    if (wrong) {
      const error = new RehostError('VERIFY_MISMATCH', `Disk ${wrong.disk}: 1 block differs.`);
      return { ...nothing, progress: 'failed', error: toWire(error) };
    }
    const manifests = check.disks.map(({ disk }) => ({
      disk,
      sha256: createHash('sha256').update(journal.list(disk)).digest('hex'),
      blocks: USED_BLOCKS,
      bytes: USED_BLOCKS * 4096,
      holes: 'read' as const,
    }));
    return { ...nothing, progress: 'done', checkedBytes: 4096, totalBytes: 4096, manifests };
  }

  #convertStatus(): ResultOf<typeof RECEIVER_METHODS, 'convert.status'> {
    if (!this.#converting) return { progress: 'idle', steps: [], guest: '', error: null };
    const { serials } = this.#converting;
    const broken = this.#fate.conversion();
    const step = { step: 'initramfs', detail: 'looked at', seconds: 0.1 };
    const guest = 'Debian GNU/Linux 13';
    if (broken) {
      return { progress: 'failed', steps: [{ ...step, outcome: 'failed' }], guest, error: toWire(broken) };
    }
    if (++this.#converting.looks === LOOKS) {
      for (const serial of serials) {
        this.#hypervisor.write(this.#hypervisor.diskOf(this.#vm, serial), Buffer.from('converted'));
      }
    }
    const progress = this.#converting.looks < LOOKS ? 'running' : 'done';
    return { progress, steps: [{ ...step, outcome: 'changed' }], guest, error: null };
  }
}
