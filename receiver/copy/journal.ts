/** The journal of a copy on its volume. One thread at a time writes it: the one that flushes. The layout is appliance/api/journal.ts. */
import { RehostError } from '../../appliance/api/errors.ts';
import {
  blockCount,
  decodeJournalHead,
  encodeJournalHead,
  JOURNAL_SLOTS,
  type JournalHead,
  type JournalSection,
  journalLayout,
} from '../../appliance/api/journal.ts';
import { REHOST_HASH_BYTES } from '../../appliance/api/nbd.ts';
import { JOURNAL_HEAD_BYTES, JOURNAL_PAGE_BYTES } from '../../appliance/api/transfer.ts';
import { isZero } from '../../native/bytes.ts';
import { Memory } from '../../native/memory.ts';
import type { Target } from '../target/target.ts';
import { FLUSHED, FLUSHING, firstFrom, hashOf, type Plan } from './plan.ts';

const SLOT_BYTES = JOURNAL_HEAD_BYTES / JOURNAL_SLOTS;
const HASHES_PER_PAGE = JOURNAL_PAGE_BYTES / REHOST_HASH_BYTES;
/** One read, bytes: as base64 it fits a frame of the control channel. */
const READ_BYTES = 512 * 1024;

/** What a journal is opened for. */
export interface JournalOrder {
  jobId: string;
  /** Of which snapshot the disks are, as the agent names its time. */
  snapshot: string;
  disks: readonly { disk: string; sizeBytes: number; identity: string }[];
}

/** One disk's section. Owned by the thread that opened it; `close` ends it. Errors are those of its target. */
export class Journal {
  readonly #target: Target;
  readonly #memory = new Memory(READ_BYTES);
  readonly #section: JournalSection;
  #head: JournalHead;

  private constructor(target: Target, section: JournalSection, head: JournalHead) {
    this.#target = target;
    this.#section = section;
    this.#head = head;
  }

  /**
   * Opens the section of a disk of this job, on a volume that is the journal's from here on; a section without a head gets one, its old
   * content zeroed. SOURCE_CHANGED when it is that of another disk; REQUEST_INVALID when it is that of another job or too small.
   */
  static open(target: Target, order: JournalOrder, index: number): Journal {
    let journal: Journal | undefined;
    try {
      const { section, disk, found } = lookUp(target, order, index);
      if (found) return new Journal(target, section, found);
      target.zero(section.head, section.end - section.head);
      const { sizeBytes, identity } = disk;
      const { jobId, snapshot } = order;
      const fresh = { sequence: 1, jobId, disk: disk.disk, sizeBytes, identity, snapshot, bad: [] };
      journal = new Journal(target, section, fresh);
      journal.note({});
      return journal;
    } catch (error) {
      if (journal) journal.close();
      else target.close();
      throw error;
    }
  }

  /** The same for reading: nothing is written, and a section without a head is REQUEST_INVALID. */
  static existing(target: Target, order: JournalOrder, index: number): Journal {
    try {
      const { section, disk, found } = lookUp(target, order, index);
      if (found) return new Journal(target, section, found);
      throw new RehostError('REQUEST_INVALID', `The journal has nothing of disk '${disk.disk}'.`);
    } catch (error) {
      target.close();
      throw error;
    }
  }

  /** What is noted of the disk besides its blocks. */
  get notes(): { snapshot: string; bad: readonly number[] } {
    return this.#head;
  }

  /** The disk's list: 16 bytes for each of its blocks. Pages without any are not touched: of 64 MiB for 16 TiB few are ever needed. */
  list(): Uint8Array {
    const list = new Uint8Array(blockCount(this.#head.sizeBytes) * REHOST_HASH_BYTES);
    for (let done = 0; done < list.length; ) {
      const step = Math.min(READ_BYTES, list.length - done);
      const aligned = Math.ceil(step / JOURNAL_PAGE_BYTES) * JOURNAL_PAGE_BYTES;
      this.#target.read(this.#memory.address, this.#section.list + done, aligned);
      for (let at = 0; at < step; at += JOURNAL_PAGE_BYTES) {
        const bytes = Math.min(JOURNAL_PAGE_BYTES, step - at);
        if (!isZero(this.#memory, at, bytes)) list.set(this.#memory.bytes.subarray(at, at + bytes), done + at);
      }
      done += step;
    }
    return list;
  }

  /** Records blocks of the plan that are on stable storage; on stable storage itself when this returns. */
  record(plan: Plan, blocks: readonly number[]): void {
    let last = -1;
    for (const block of blocks) {
      const page = Math.floor((plan.numbers[block] ?? 0) / HASHES_PER_PAGE);
      if (page === last) continue;
      last = page;
      this.#fillPage(plan, page);
      this.#target.write(this.#memory.address, this.#section.list + page * JOURNAL_PAGE_BYTES, JOURNAL_PAGE_BYTES);
    }
    this.#target.flush();
  }

  #fillPage(plan: Plan, page: number): void {
    const { bytes } = this.#memory;
    bytes.fill(0, 0, JOURNAL_PAGE_BYTES);
    const first = page * HASHES_PER_PAGE;
    for (let index = firstFrom(plan, first); index < plan.count; index++) {
      const position = (plan.numbers[index] ?? 0) - first;
      if (position >= HASHES_PER_PAGE) break;
      const state = plan.states[index];
      if (state === FLUSHED || state === FLUSHING) bytes.set(hashOf(plan, index), position * REHOST_HASH_BYTES);
    }
  }

  /** Notes something of the disk; on stable storage when this returns. What is left out stays. */
  note({ snapshot = this.#head.snapshot, bad = this.#head.bad }: { snapshot?: string; bad?: readonly number[] }): void {
    const head = { ...this.#head, snapshot, bad: [...bad], sequence: this.#head.sequence + 1 };
    this.#memory.bytes.set(encodeJournalHead(head));
    const slot = head.sequence % JOURNAL_SLOTS;
    this.#target.write(this.#memory.address, this.#section.head + slot * SLOT_BYTES, SLOT_BYTES);
    this.#target.flush();
    // What could not be written was not noted.
    this.#head = head;
  }

  /** Idempotent. */
  close(): void {
    this.#target.close();
    this.#memory.free();
  }
}

/** Part of a journal as it is, at most READ_BYTES from `offset` on; empty behind its last section. */
export function readJournal(target: Target, order: JournalOrder, offset: number): Buffer {
  const end = journalLayout(order.disks).sections.at(-1)?.end ?? 0;
  if (offset >= end) return Buffer.alloc(0);
  const from = offset - (offset % JOURNAL_PAGE_BYTES);
  const memory = new Memory(READ_BYTES);
  try {
    const bytes = Math.min(READ_BYTES, end - from);
    target.read(memory.address, from, bytes);
    return Buffer.from(memory.bytes.slice(offset - from, bytes));
  } finally {
    memory.free();
  }
}

/** A disk's section, and its head if it has one. */
function lookUp(target: Target, order: JournalOrder, index: number) {
  const layout = journalLayout(order.disks);
  const section = layout.sections[index];
  const disk = order.disks[index];
  if (!section || !disk) throw new RehostError('INTERNAL', `The journal has no disk ${index}.`);
  if (target.sizeBytes < layout.sizeBytes) {
    throw new RehostError(
      'REQUEST_INVALID',
      `The journal has ${target.sizeBytes} bytes; ${layout.sizeBytes} are needed.`,
    );
  }
  const found = decodeJournalHead(readHead(target, section));
  if (found) checkHead(found, order.jobId, disk);
  return { section, disk, found };
}

function readHead(target: Target, section: JournalSection): Buffer {
  const memory = new Memory(JOURNAL_HEAD_BYTES);
  try {
    target.read(memory.address, section.head, JOURNAL_HEAD_BYTES);
    return Buffer.from(memory.bytes.slice(0, JOURNAL_HEAD_BYTES));
  } finally {
    memory.free();
  }
}

function checkHead(head: JournalHead, jobId: string, disk: JournalOrder['disks'][number]): void {
  if (head.jobId !== jobId) {
    throw new RehostError('REQUEST_INVALID', `The journal is that of job '${head.jobId}', not of '${jobId}'.`);
  }
  if (head.disk === disk.disk && head.sizeBytes === disk.sizeBytes && head.identity === disk.identity) return;
  throw new RehostError('SOURCE_CHANGED', `Disk '${disk.disk}' is not the one of which this copy was begun.`);
}
