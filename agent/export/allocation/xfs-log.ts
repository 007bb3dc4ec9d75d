/**
 * Whether an XFS log is clean. With transactions in it, the free space B+trees on the disk are stale: the replay on the copy
 * would point at blocks that were not copied. The kernel decides by looking for an unmount record right before the log's
 * head (fs/xfs/xfs_log_recover.c: xlog_find_head, xlog_check_unmount_rec; xfs_log_format.h). The same is done here, with
 * fewer kinds of logs believed: a log that was torn by a crash is never clean, nor is one that is all zero.
 *
 * The log is a ring of 512-byte blocks. Each begins with the number of the cycle in which it was written, a record's first
 * block with a magic number and then the cycle: behind the head is the current cycle, before it the one before.
 */
import { crc32c } from './crc.ts';
import { Inconsistent, type StructureSource } from './source.ts';
import { blockAt, type XfsSuperblock } from './xfs-superblock.ts';

const BLOCK = 512;
const RECORD_MAGIC = 0xfeedbabe;
/** Logged data for which one header has room; more of them take a block each (XLOG_HEADER_CYCLE_SIZE). */
const HEADER_COVERS = 32 * 1024;
const RECORD_MAX = 256 * 1024;
/** All that can be in flight at once, eight buffers of 256 KiB: so far from the head is the order of writes unknown. */
const IN_FLIGHT = (8 * RECORD_MAX) / BLOCK;
const CLIENT_LOG = 0xaa;
const UNMOUNT = 0x20;
/** Bytes of a record's header that its checksum covers: on i386 it has no padding (XLOG_REC_SIZE, XLOG_REC_SIZE_OTHER). */
const HEADER_SIZES = [328, 324];
const CHECKSUM_AT = 32;
/** Bytes of a further header that count (XLOG_REC_EXT_SIZE). */
const FURTHER_HEADER_SIZE = 260;

/** Where the next record would be written; everything in the file system was logged before. */
export interface LogHead {
  cycle: number;
  block: number;
}

interface Ring {
  blocks: number;
  /** `count` blocks from `from` on, around the end of the ring. */
  read(from: number, count: number): Buffer;
}

/** The head of the log of a file system that was unmounted cleanly. Inconsistent when that is not certain. */
export function cleanLogHead(source: StructureSource, start: number, sb: XfsSuperblock): LogHead {
  const at = start + blockAt(sb, sb.log.group, sb.log.block);
  const blocks = (sb.log.blocks * sb.blockBytes) / BLOCK;
  const ring: Ring = {
    blocks,
    read: (from, count) => {
      const first = from % blocks;
      const upper = Math.min(count, blocks - first);
      const bytes = source.read(at + first * BLOCK, upper * BLOCK);
      return upper === count ? bytes : Buffer.concat([bytes, source.read(at, (count - upper) * BLOCK)]);
    },
  };
  const head = findHead(ring);
  checkUnmountRecord(ring, head, sb);
  return head;
}

function cycleOf(bytes: Buffer, at: number): number {
  const first = bytes.readUInt32BE(at);
  return first === RECORD_MAGIC ? bytes.readUInt32BE(at + 4) : first;
}

/** The first block of the older cycle; the number of blocks when there is none. */
function findHead(ring: Ring): LogHead {
  const cycleAt = (block: number): number => cycleOf(ring.read(block, 1), 0);
  const cycle = cycleAt(0);
  if (cycle === 0) throw new Inconsistent('xfs: its log is empty, without the mark of a clean unmount');
  const last = cycleAt(ring.blocks - 1);
  let low = 0;
  let high = ring.blocks;
  if (last !== cycle) {
    high = ring.blocks - 1;
    // As the kernel halves it, so that its head and this one are the same.
    for (let middle = (low + high) >>> 1; middle !== low; middle = (low + high) >>> 1) {
      if (cycleAt(middle) === last) high = middle;
      else low = middle;
    }
  }
  const window = Math.min(IN_FLIGHT, ring.blocks);
  expectCycles(ring, high, window, (block) => (block < high ? cycle : cycle - 1));
  // Backwards from the head: from its own cycle into the older one at the ring's end.
  expectCycles(ring, high + ring.blocks - window, window, (block) => (block < high ? cycle : cycle - 1));
  return { cycle, block: high };
}

/** Inconsistent unless the `count` blocks from `from` on are of the cycles that `expected` says, block by block. */
function expectCycles(ring: Ring, from: number, count: number, expected: (block: number) => number): void {
  const bytes = ring.read(from, count);
  for (let i = 0; i < count; i++) {
    if (cycleOf(bytes, i * BLOCK) !== expected((from + i) % ring.blocks)) {
      throw new Inconsistent('xfs: its log was left in the middle of writing');
    }
  }
}

/** Inconsistent unless the last record before the head is that of an unmount, and complete. */
function checkUnmountRecord(ring: Ring, head: LogHead, sb: XfsSuperblock): void {
  const reach = Math.min(ring.blocks, RECORD_MAX / BLOCK + RECORD_MAX / HEADER_COVERS);
  const bytes = ring.read(head.block + ring.blocks - reach, reach);
  let index = reach - 1;
  while (index >= 0 && bytes.readUInt32BE(index * BLOCK) !== RECORD_MAGIC) index--;
  if (index < 0) throw new Inconsistent('xfs: its log has no record before its head');
  const record = bytes.subarray(index * BLOCK);
  const place = (head.block + ring.blocks - reach + index) % ring.blocks;
  const length = record.readUInt32BE(12);
  const headers = sb.logVersion2 ? Math.max(1, Math.ceil(record.readUInt32BE(320) / HEADER_COVERS)) : 1;
  const isWhole =
    (record.readUInt32BE(8) & (sb.logVersion2 ? 2 : 1)) !== 0 &&
    length > 0 &&
    // Version 1 says how much of the last block is its own, version 2 pads it.
    record.length === (headers + Math.ceil(length / BLOCK)) * BLOCK &&
    // A record that goes around the ring's end was begun in the older cycle.
    record.readUInt32BE(4) === (place < head.block ? head.cycle : head.cycle - 1) &&
    record.readUInt32BE(16) === record.readUInt32BE(4) &&
    record.readUInt32BE(20) === place &&
    Buffer.compare(record.subarray(304, 320), sb.uuid) === 0;
  if (!isWhole) throw new Inconsistent('xfs: the last record of its log is not complete, or of another file system');
  const operation = record.subarray(headers * BLOCK);
  const isUnmount =
    record.readUInt32BE(40) === 1 && operation.readUInt8(8) === CLIENT_LOG && (operation.readUInt8(9) & UNMOUNT) !== 0;
  if (!isUnmount) throw new Inconsistent('xfs: it was not unmounted cleanly, its log has to be replayed');
  if (sb.checksums && !recordHolds(record, headers)) {
    throw new Inconsistent('xfs: the last record of its log fails its checksum');
  }
}

/** Checks a record's own checksum (xlog_cksum). That which mkfs and xfs_repair write has none. */
function recordHolds(record: Buffer, headers: number): boolean {
  const stored = record.readUInt32LE(CHECKSUM_AT);
  if (stored === 0) return true;
  const data = record.subarray(headers * BLOCK, headers * BLOCK + record.readUInt32BE(12));
  return HEADER_SIZES.some((size) => {
    let crc = crc32c(0xffffffff, record.subarray(0, CHECKSUM_AT));
    crc = crc32c(crc32c(crc, Buffer.alloc(4)), record.subarray(CHECKSUM_AT + 4, size));
    for (let header = 1; header * HEADER_COVERS < data.length; header++) {
      crc = crc32c(crc, record.subarray(header * BLOCK, header * BLOCK + FURTHER_HEADER_SIZE));
    }
    return ~crc32c(crc, data) >>> 0 === stored;
  });
}
