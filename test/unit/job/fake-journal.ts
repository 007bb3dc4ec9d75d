/** A receiver's journal on a volume in memory, in the layout of appliance/api/journal.ts. */
import { RehostError } from '../../../appliance/api/errors.ts';
import { blockCount, decodeJournalHead, encodeJournalHead, journalLayout } from '../../../appliance/api/journal.ts';
import { REHOST_HASH_BYTES } from '../../../appliance/api/nbd.ts';
import { JOURNAL_HEAD_BYTES } from '../../../appliance/api/transfer.ts';
import type { MemoryHypervisor } from '../../lab/orchestrator/memory-hypervisor.ts';

/** Blocks in use on every disk here. */
export const USED_BLOCKS = 3;

interface JournalDisk {
  disk: string;
  sizeBytes: number;
  identity?: string;
}

export class FakeJournal {
  readonly content: Buffer;
  readonly #hypervisor: MemoryHypervisor;
  readonly #volume: string;
  readonly #disks: readonly JournalDisk[];

  /** Opens it, or makes one of a volume that reads as zeros. SOURCE_CHANGED, REQUEST_INVALID. */
  constructor(hypervisor: MemoryHypervisor, volume: string, jobId: string, disks: readonly JournalDisk[]) {
    this.#hypervisor = hypervisor;
    this.#volume = volume;
    this.#disks = disks;
    const { sections, sizeBytes } = journalLayout(disks);
    const stored = hypervisor.volumes.get(volume)?.content ?? Buffer.alloc(0);
    this.content = Buffer.alloc(sizeBytes);
    stored.copy(this.content);
    disks.forEach(({ disk, sizeBytes: size, identity = '' }, index) => {
      const start = sections[index]?.head ?? 0;
      const head = decodeJournalHead(this.content.subarray(start, start + JOURNAL_HEAD_BYTES));
      if (!head) {
        const made = { sequence: 1, jobId, disk, sizeBytes: size, identity, snapshot: '', bad: [] };
        encodeJournalHead(made).copy(this.content, start);
        return;
      }
      if (head.jobId !== jobId) throw new RehostError('REQUEST_INVALID', 'This is the journal of another job.');
      if (head.disk !== disk || head.sizeBytes !== size || head.identity !== identity)
        throw new RehostError('SOURCE_CHANGED', `This is the journal of another disk than ${disk}.`);
    });
  }

  list(disk: string): Buffer {
    const at = this.#disks.findIndex((one) => one.disk === disk);
    const start = journalLayout(this.#disks).sections[at]?.list ?? 0;
    return this.content.subarray(start, start + blockCount(this.#disks[at]?.sizeBytes ?? 0) * REHOST_HASH_BYTES);
  }

  /** The blocks that are on stable storage. */
  recorded(disk: string): number[] {
    const list = this.list(disk);
    return Array.from({ length: USED_BLOCKS }, (_, block) => block).filter(
      (block) => list[block * REHOST_HASH_BYTES] !== 0,
    );
  }

  record(disk: string, block: number): void {
    this.list(disk).fill(block + 1, block * REHOST_HASH_BYTES, (block + 1) * REHOST_HASH_BYTES);
    this.#hypervisor.write(this.#volume, this.content);
  }
}
