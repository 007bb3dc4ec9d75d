/** A source machine as it answers the orchestrator: it holds a snapshot per job and serves it, and says the truth about it. */
import { createHash } from 'node:crypto';
import type { AGENT_METHODS, ParamsOf, ResultOf } from '../../../appliance/api/control.ts';
import { RehostError } from '../../../appliance/api/errors.ts';
import type { Inventory } from '../../../appliance/api/inventory.ts';
import type { Handlers } from '../../../appliance/api/peer.ts';

/** Lives on while orchestrators come and go. */
export class SourceEnd {
  readonly snapshots = new Set<string>();
  /** The token with which each job is served. */
  readonly exports = new Map<string, string>();
  /** How it was last told to read. */
  manners: ParamsOf<typeof AGENT_METHODS, 'export.tune'>['manners'] | undefined;
  /** What the disks' identities are made of besides their names: another text is another disk. */
  content = 'as it was';
  /** The kernel has given the disks' names to others since the first snapshot. */
  renamed = false;
  readonly #spent = new Set<string>();
  readonly #inventory: Inventory;

  constructor(inventory: Inventory) {
    this.#inventory = inventory;
  }

  /** It loses its power and is booted into the agent again: nothing is held any more, and no token is known as spent. */
  reboot(): void {
    this.snapshots.clear();
    this.exports.clear();
    this.#spent.clear();
    this.manners = undefined;
  }

  handlers(): Handlers<typeof AGENT_METHODS> {
    return {
      approved: () => ({}),
      inventory: () => this.#inventory,
      'snapshot.create': ({ jobId, disks, identities = {} }) => this.#snapshot(jobId, disks, identities),
      'snapshot.release': ({ jobId }) => {
        if (this.exports.has(jobId)) throw new RehostError('REQUEST_INVALID', 'The snapshot is being served.');
        this.snapshots.delete(jobId);
        return {};
      },
      'export.start': ({ jobId, token, manners }) => {
        this.#known(jobId);
        const serving = this.exports.get(jobId);
        if (this.#spent.has(token)) throw new RehostError('TOKEN_SPENT', 'Used before.');
        if (serving !== undefined && serving !== token)
          throw new RehostError('TOKEN_INVALID', 'The job is served with another token.');
        this.exports.set(jobId, token);
        this.manners = manners;
        return {};
      },
      'export.tune': ({ jobId, manners }) => {
        this.#known(jobId);
        this.manners = { ...this.manners, ...manners };
        return {};
      },
      'export.status': ({ jobId }) => {
        this.#known(jobId);
        return {
          running: this.exports.has(jobId),
          connections: this.exports.has(jobId) ? 2 : 0,
          wireBytes: 0,
          exports: this.#inventory.disks.map(({ name, sizeBytes }) => ({ disk: name, sizeBytes, readBytes: 4096 })),
          error: null,
        };
      },
      'export.stop': ({ jobId }) => {
        this.#known(jobId);
        const token = this.exports.get(jobId);
        if (token !== undefined) this.#spent.add(token);
        this.exports.delete(jobId);
        return {};
      },
      power: () => ({}),
    };
  }

  #known(jobId: string): void {
    if (!this.snapshots.has(jobId)) throw new RehostError('JOB_UNKNOWN', 'Nothing is held for this job.');
  }

  #snapshot(
    jobId: string,
    disks: string[],
    earlier: Record<string, { identity: string }>,
  ): ResultOf<typeof AGENT_METHODS, 'snapshot.create'> {
    this.snapshots.add(jobId);
    return {
      provider: 'offline',
      timestamp: '2026-01-02T03:04:05.000Z',
      disks: disks.map((disk) => {
        const identity = identityOf(disk, this.content);
        const sizeBytes = this.#inventory.disks.find(({ name }) => name === disk)?.sizeBytes ?? 0;
        if (!this.renamed) return { disk, path: `/dev/${disk}`, sizeBytes, identity };
        // Another disk has the name by now; this one is found only by what it is.
        return earlier[disk]?.identity === identity
          ? { disk, path: `/dev/was-${disk}`, sizeBytes, identity }
          : { disk, path: `/dev/${disk}`, sizeBytes, identity: identityOf('other', this.content) };
      }),
    };
  }
}

function identityOf(disk: string, content: string): string {
  return createHash('sha256').update(`${disk} ${content}`).digest('hex');
}
