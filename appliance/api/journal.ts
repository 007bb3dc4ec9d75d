/**
 * The journal of a copy: which blocks are on the replicas' stable storage, and their hashes. It lives on a small volume beside them, so
 * that a copy goes on after its receiver is gone; when all is copied it is the manifest. Each disk has a section of its own: two slots
 * for its head, written by turns, so that one is always whole; then 16 bytes per block: its XXH3-128, or zeros while it is not there.
 */
import { createHash } from 'node:crypto';
import { RehostError } from './errors.ts';
import { REHOST_HASH_BYTES } from './nbd.ts';
import { BAD_RANGES_MAX, BLOCK_BYTES, JOURNAL_HEAD_BYTES, JOURNAL_PAGE_BYTES } from './transfer.ts';

const MAGIC = 'REHOST-JOURNAL-1\n';
export const JOURNAL_SLOTS = 2;
const SLOT_BYTES = JOURNAL_HEAD_BYTES / JOURNAL_SLOTS;
const CHECKSUM_BYTES = 32;
/** Volumes are made in whole MiB. */
const GRAIN_BYTES = 1024 * 1024;
export interface JournalHead {
  /** Counts up with every write; the higher of two whole slots counts. */
  sequence: number;
  jobId: string;
  disk: string;
  sizeBytes: number;
  identity: string;
  /** The snapshot in which all that is recorded was seen: one of another time has to be compared with it first. */
  snapshot: string;
  /** Pairs of offset and length: what the source could not read. At most BAD_RANGES_MAX of them. */
  bad: number[];
}

const isBytes = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;

/** By hand: a library of schemas is more than the thread that tends a target may weigh. */
function isHead(value: unknown): value is JournalHead {
  if (typeof value !== 'object' || value === null) return false;
  const { sequence, jobId, disk, sizeBytes, identity, snapshot, bad } = value as Partial<Record<string, unknown>>;
  const words = [jobId, disk, identity, snapshot].every((word) => typeof word === 'string');
  if (!words || !isBytes(sequence) || !isBytes(sizeBytes)) return false;
  return Array.isArray(bad) && bad.length <= 2 * BAD_RANGES_MAX && bad.every(isBytes);
}

/** Blocks of a disk; the last may be shorter than BLOCK_BYTES. */
export function blockCount(sizeBytes: number): number {
  return Math.ceil(sizeBytes / BLOCK_BYTES);
}

/** A disk's section, bytes from the journal's start. */
export interface JournalSection {
  head: number;
  list: number;
  end: number;
}

/** Each disk's section, in the order of the disks, and the whole journal's size, bytes. */
export function journalLayout(disks: readonly { sizeBytes: number }[]): {
  sections: JournalSection[];
  sizeBytes: number;
} {
  const sections: JournalSection[] = [];
  let at = 0;
  for (const { sizeBytes } of disks) {
    const list = at + JOURNAL_HEAD_BYTES;
    const pages = Math.ceil((blockCount(sizeBytes) * REHOST_HASH_BYTES) / JOURNAL_PAGE_BYTES);
    const end = list + pages * JOURNAL_PAGE_BYTES;
    sections.push({ head: at, list, end });
    at = end;
  }
  return { sections, sizeBytes: Math.ceil(at / GRAIN_BYTES) * GRAIN_BYTES };
}

/** One slot, JOURNAL_HEAD_BYTES / JOURNAL_SLOTS long. REQUEST_INVALID when it has more to say than there is room for. */
export function encodeJournalHead(head: JournalHead): Buffer {
  const json = Buffer.from(JSON.stringify(head), 'utf8');
  const slot = Buffer.alloc(SLOT_BYTES);
  const start = MAGIC.length + CHECKSUM_BYTES;
  if (start + json.length > SLOT_BYTES) {
    throw new RehostError(
      'REQUEST_INVALID',
      `The journal has room for ${SLOT_BYTES - start} bytes, not ${json.length}.`,
    );
  }
  slot.write(MAGIC, 'latin1');
  createHash('sha256').update(json).digest().copy(slot, MAGIC.length);
  json.copy(slot, start);
  return slot;
}

/** The newest whole head of a section's first JOURNAL_HEAD_BYTES; undefined when it has none: it is new, or no journal. */
export function decodeJournalHead(bytes: Buffer): JournalHead | undefined {
  const heads = Array.from({ length: JOURNAL_SLOTS }, (_, slot) =>
    decodeSlot(bytes.subarray(slot * SLOT_BYTES, (slot + 1) * SLOT_BYTES)),
  );
  return heads.reduce((best, head) => (head && (!best || head.sequence > best.sequence) ? head : best), undefined);
}

function decodeSlot(slot: Buffer): JournalHead | undefined {
  if (slot.toString('latin1', 0, MAGIC.length) !== MAGIC) return undefined;
  const start = MAGIC.length + CHECKSUM_BYTES;
  const end = slot.indexOf(0, start);
  const json = slot.subarray(start, end < 0 ? slot.length : end);
  if (!createHash('sha256').update(json).digest().equals(slot.subarray(MAGIC.length, start))) return undefined;
  const value: unknown = JSON.parse(json.toString('utf8'));
  return isHead(value) ? value : undefined;
}
