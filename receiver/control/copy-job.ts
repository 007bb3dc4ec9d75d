/** The copy of this VM's job and its verification: each begun once, asked about often. */
import { createHash } from 'node:crypto';
import { freemem, totalmem } from 'node:os';
import type { ParamsOf, RECEIVER_METHODS } from '../../appliance/api/control.ts';
import { RehostError } from '../../appliance/api/errors.ts';
import { type FindDisk, waitForDisk } from '../block-serials.ts';
import type { CopiedDisk, CopyOptions, CopySession, CopyStatus, CopyTargetDisk } from '../copy/copy.ts';
import type { VerifySession, VerifyStatus } from '../copy/verify.ts';

/** The replicas are there when the VM starts; their drivers may still be at work, ms. */
const APPEAR_DEADLINE_MS = 20_000;

export interface CopyParts {
  find: FindDisk;
  /** Port to listen on; 0 for any. */
  listenPort: number;
  /** Both are loaded when they are first needed. */
  startCopy(options: CopyOptions): Promise<CopySession>;
  startVerify(disks: readonly CopiedDisk[], options: { paused: boolean }): Promise<VerifySession>;
  /** What the journal on this volume says was copied; the disks are opened for reading only. */
  recordedDisks(journal: string, jobId: string, disks: readonly CopyTargetDisk[]): Promise<CopiedDisk[]>;
  /** Part of the journal from `offset` on; empty at its end. */
  readJournal(journal: string, jobId: string, disks: readonly CopyTargetDisk[], offset: number): Promise<Buffer>;
  log(line: string): void;
}

type Order = ParamsOf<typeof RECEIVER_METHODS, 'copy.start'>;
type ReplicaOrder = ParamsOf<typeof RECEIVER_METHODS, 'verify.replica'>;
type Tune = Omit<ParamsOf<typeof RECEIVER_METHODS, 'copy.tune'>, 'jobId'>;

/** Where the journal of the present order is. */
interface JournalPlace {
  path: string;
  jobId: string;
  disks: readonly CopyTargetDisk[];
}

const NO_COPY: CopyStatus = {
  progress: 'idle',
  disks: [],
  wireBytes: 0,
  reconnects: 0,
  retries: 0,
  paused: null,
  error: null,
};
const NO_VERIFY: VerifyStatus = { progress: 'idle', checkedBytes: 0, totalBytes: 0, manifests: [], error: null };

export class CopyJob {
  /** SHA-256 of the order, to compare without keeping the token. */
  #order: string | undefined;
  #copy: Promise<CopySession> | undefined;
  #verify: Promise<VerifySession> | undefined;
  #journal: JournalPlace | undefined;
  #paused = false;
  readonly #parts: CopyParts;

  constructor(parts: CopyParts) {
    this.#parts = parts;
  }

  /**
   * Listens for the agent, or attaches to what this order began already; answers the port. After `stop` another order may come.
   * REQUEST_INVALID for another order, SOURCE_CHANGED when the journal is that of other disks, TIMEOUT when a replica does not appear, TARGET_WRITE_FAILED, TOKEN_INVALID.
   */
  async start(order: Order): Promise<number> {
    const fingerprint = createHash('sha256').update(JSON.stringify(order)).digest('hex');
    if (this.#copy) {
      if (this.#order !== fingerprint)
        throw new RehostError('REQUEST_INVALID', 'This transfer VM copies by another order already.');
      return (await this.#copy).port;
    }
    this.#order = fingerprint;
    this.#paused = order.paused ?? false;
    const copy = this.#begin(order);
    this.#copy = copy;
    try {
      return (await copy).port;
    } catch (error) {
      if (this.#copy === copy) this.#copy = undefined;
      throw error;
    }
  }

  async status(): Promise<CopyStatus> {
    return this.#copy ? (await this.#copy).status() : NO_COPY;
  }

  /** Changes limit and pause of what runs. */
  async tune({ bytesPerSecond, paused }: Tune): Promise<void> {
    if (paused !== undefined) this.#paused = paused;
    const change = {
      ...(bytesPerSecond === undefined ? {} : { bytesPerSecond }),
      ...(paused === undefined ? {} : { paused }),
    };
    if (this.#copy) (await this.#copy).tune(change);
    if (this.#verify) (await this.#verify).pause(this.#paused);
  }

  /** Begins to re-read replicas that were copied in another transfer VM, by their journal alone, or attaches. */
  async startVerifyReplica({ jobId, disks, journal }: ReplicaOrder): Promise<void> {
    if (this.#copy) throw new RehostError('REQUEST_INVALID', 'This transfer VM copies.');
    this.#verify ??= this.#openRecorded(jobId, disks, journal).then((recorded) => this.#beginVerify(recorded));
    const verify = this.#verify;
    try {
      await verify;
    } catch (error) {
      if (this.#verify === verify) this.#verify = undefined;
      throw error;
    }
  }

  async #openRecorded(jobId: string, disks: ReplicaOrder['disks'], journal: string): Promise<CopiedDisk[]> {
    const targets = await this.#targets(disks, true);
    const { path } = await waitForDisk(this.#parts.find, journal, APPEAR_DEADLINE_MS);
    return await this.#parts.recordedDisks(path, jobId, targets);
  }

  /** Part of the journal of the present copy, base64. REQUEST_INVALID when it has none. */
  async journalPart(offset: number): Promise<string> {
    if (!this.#journal) throw new RehostError('REQUEST_INVALID', 'The copy of this transfer VM has no journal.');
    const { path, jobId, disks } = this.#journal;
    return (await this.#parts.readJournal(path, jobId, disks, offset)).toString('base64');
  }

  /** Begins to re-read what was copied, or attaches. TRANSFER_FAILED when the copy is not done. */
  async startVerify(): Promise<void> {
    if (!this.#copy) throw new RehostError('TRANSFER_FAILED', 'Nothing was copied in this transfer VM.');
    const copied = (await this.#copy).copied();
    this.#verify ??= this.#beginVerify(copied);
    await this.#verify;
  }

  async verifyStatus(): Promise<VerifyStatus> {
    return this.#verify ? (await this.#verify).status() : NO_VERIFY;
  }

  /** When it resolves no replica is open any longer and all is on stable storage. MACHINE_BUSY while copy or verification run. */
  async release(): Promise<void> {
    const running = (status: CopyStatus | VerifyStatus): boolean => status.progress === 'running';
    if (running(await this.status()) || running(await this.verifyStatus()))
      throw new RehostError('MACHINE_BUSY', 'The replicas are still copied or verified.');
    await this.#halt();
  }

  /** Ends what runs and closes the replicas; what was copied and verified is still told. */
  async #halt(): Promise<void> {
    if (this.#verify) await (await this.#verify).stop();
    if (this.#copy) await (await this.#copy).stop();
  }

  /** Ends what runs; nothing of it is left when it resolves, and another order may come. */
  async stop(): Promise<void> {
    await this.#halt();
    this.#copy = this.#verify = this.#journal = this.#order = undefined;
  }

  async #targets(disks: Order['disks'], readOnly: boolean): Promise<CopyTargetDisk[]> {
    const targets: CopyTargetDisk[] = [];
    for (const { disk, serial, sizeBytes, identity } of disks) {
      const { path } = await waitForDisk(this.#parts.find, serial, APPEAR_DEADLINE_MS);
      this.#parts.log(`replica of ${disk} is ${path}`);
      const target = { kind: 'device' as const, path, ...(readOnly ? { readOnly } : {}) };
      targets.push({ disk, sizeBytes, target, ...(identity === undefined ? {} : { identity }) });
    }
    return targets;
  }

  async #begin(order: Order): Promise<CopySession> {
    const { jobId, connections, onReadError, bytesPerSecond } = order;
    const disks = await this.#targets(order.disks, false);
    let journal: string | undefined;
    if (order.journal !== undefined) {
      journal = (await waitForDisk(this.#parts.find, order.journal, APPEAR_DEADLINE_MS)).path;
      this.#journal = { path: journal, jobId, disks };
    }
    const session = await this.#parts.startCopy({
      jobId,
      token: Buffer.from(order.token, 'base64'),
      connections,
      disks,
      listen: { host: '::', port: this.#parts.listenPort },
      paused: this.#paused,
      ...(journal === undefined ? {} : { journal }),
      ...(order.snapshot === undefined ? {} : { snapshot: order.snapshot }),
      ...(onReadError === undefined ? {} : { onReadError }),
      ...(bytesPerSecond === undefined ? {} : { bytesPerSecond }),
    });
    this.#parts.log(`waiting for the agent on port ${session.port}`);
    void session.finished.then(() => this.#report('copy', session.status()));
    return session;
  }

  async #beginVerify(copied: readonly CopiedDisk[]): Promise<VerifySession> {
    const session = await this.#parts.startVerify(copied, { paused: this.#paused });
    void session.finished.then(() => this.#report('verification', session.status()));
    return session;
  }

  #report(what: string, { progress, error }: CopyStatus | VerifyStatus): void {
    this.#parts.log(error ? `${what} ${progress}: ${error.code} ${error.message}` : `${what} ${progress}`);
    this.#parts.log(memoryLine());
  }
}

/** A transfer VM is small: whoever reads its console after its end should see how much was left. */
function memoryLine(): string {
  const mib = (bytes: number): number => Math.round(bytes / 1024 ** 2);
  // maxRSS is in KiB.
  const own = mib(process.resourceUsage().maxRSS * 1024);
  return `memory: ${mib(freemem())} of ${mib(totalmem())} MiB available; at most ${own} MiB were this program's`;
}
