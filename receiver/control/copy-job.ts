/** The copy of this VM's job and its verification: each begun once, asked about often. */
import { createHash } from 'node:crypto';
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
  startVerify(disks: readonly CopiedDisk[]): Promise<VerifySession>;
  log(line: string): void;
}

type Order = ParamsOf<typeof RECEIVER_METHODS, 'copy.start'>;

const NO_COPY: CopyStatus = { progress: 'idle', disks: [], wireBytes: 0, reconnects: 0, error: null };
const NO_VERIFY: VerifyStatus = { progress: 'idle', checkedBytes: 0, totalBytes: 0, manifests: [], error: null };

export class CopyJob {
  /** SHA-256 of the order, to compare without keeping the token. */
  #order: string | undefined;
  #copy: Promise<CopySession> | undefined;
  #verify: Promise<VerifySession> | undefined;
  readonly #parts: CopyParts;

  constructor(parts: CopyParts) {
    this.#parts = parts;
  }

  /**
   * Listens for the agent, or attaches to what this order began already; answers the port.
   * REQUEST_INVALID for another order, TIMEOUT when a replica does not appear, TARGET_WRITE_FAILED, TOKEN_INVALID.
   */
  async start(order: Order): Promise<number> {
    const fingerprint = createHash('sha256').update(JSON.stringify(order)).digest('hex');
    if (this.#copy) {
      if (this.#order !== fingerprint)
        throw new RehostError('REQUEST_INVALID', 'This transfer VM copies by another order already.');
      return (await this.#copy).port;
    }
    this.#order = fingerprint;
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
    await this.stop();
  }

  /** Ends what runs; nothing of it is left when it resolves. */
  async stop(): Promise<void> {
    if (this.#verify) await (await this.#verify).stop();
    if (this.#copy) await (await this.#copy).stop();
  }

  async #begin({ jobId, token, connections, disks }: Order): Promise<CopySession> {
    const targets: CopyTargetDisk[] = [];
    for (const { disk, serial, sizeBytes } of disks) {
      const { path } = await waitForDisk(this.#parts.find, serial, APPEAR_DEADLINE_MS);
      this.#parts.log(`replica of ${disk} is ${path}`);
      targets.push({ disk, sizeBytes, target: { kind: 'device', path } });
    }
    const session = await this.#parts.startCopy({
      jobId,
      token: Buffer.from(token, 'base64'),
      connections,
      disks: targets,
      listen: { host: '::', port: this.#parts.listenPort },
    });
    this.#parts.log(`waiting for the agent on port ${session.port}`);
    void session.finished.then(() => this.#report('copy', session.status()));
    return session;
  }

  async #beginVerify(copied: readonly CopiedDisk[]): Promise<VerifySession> {
    const session = await this.#parts.startVerify(copied);
    void session.finished.then(() => this.#report('verification', session.status()));
    return session;
  }

  #report(what: string, { progress, error }: CopyStatus | VerifyStatus): void {
    this.#parts.log(error ? `${what} ${progress}: ${error.code} ${error.message}` : `${what} ${progress}`);
  }
}
