/** Partition tables, GPT (UEFI specification 2.10, chapter 5) and MBR with its chain of extended ones, from raw reads. */
import { crc32 } from 'node:zlib';
import { Inconsistent, type StructureSource } from './source.ts';

/** A partition's bytes on the disk. */
export interface Partition {
  start: number;
  end: number;
}

export interface PartitionTable {
  kind: 'gpt' | 'mbr' | 'none';
  /** In ascending order, disjoint. */
  partitions: Partition[];
}

const MBR_SIGNATURE = 0xaa55;
const MBR_ENTRIES = 446;
const TYPE_GPT_PROTECTIVE = 0xee;
const TYPES_EXTENDED = new Set([0x05, 0x0f, 0x85]);
const GPT_SIGNATURE = 'EFI PART';
/** GPT has 128 entries nearly always; parted makes up to 1024 at most. */
const GPT_ENTRIES_MAX = 1024;
/** Bound of the chain of logical partitions. Linux knows 60 at most. */
const LOGICAL_MAX = 128;

interface MbrEntry {
  type: number;
  firstLba: number;
  sectors: number;
}

/** Parses the disk's table. `none`: the disk has no table. Inconsistent: it has one that does not hold together. */
export function readPartitions(source: StructureSource): PartitionTable {
  if (source.sizeBytes < 2 * source.sectorBytes) return { kind: 'none', partitions: [] };
  const entries = mbrEntries(source.read(0, 512));
  // One without entries is as good as none; NTFS of its own tools has such a boot sector.
  if (!entries || entries.length === 0) return { kind: 'none', partitions: [] };
  const gpt = entries.some((entry) => entry.type === TYPE_GPT_PROTECTIVE);
  const partitions = gpt ? readGpt(source) : readMbr(source, entries);
  partitions.sort((a, b) => a.start - b.start);
  let last = 0;
  for (const { start, end } of partitions) {
    if (end <= start || end > source.sizeBytes)
      throw new Inconsistent(`partition ${start} to ${end} is not on the disk`);
    if (start < last) throw new Inconsistent(`partition at ${start} begins before the end of another, ${last}`);
    last = end;
  }
  return { kind: gpt ? 'gpt' : 'mbr', partitions };
}

/** Undefined when the sector is no partition table: file systems' boot sectors carry the same signature. */
function mbrEntries(sector: Buffer): MbrEntry[] | undefined {
  if (sector.readUInt16LE(510) !== MBR_SIGNATURE) return undefined;
  const entries: MbrEntry[] = [];
  for (let i = 0; i < 4; i++) {
    const at = MBR_ENTRIES + 16 * i;
    // A boot flag is one of two values; code in this place is not.
    if ((sector.readUInt8(at) & 0x7f) !== 0) return undefined;
    const entry = {
      type: sector.readUInt8(at + 4),
      firstLba: sector.readUInt32LE(at + 8),
      sectors: sector.readUInt32LE(at + 12),
    };
    if (entry.type !== 0 && entry.sectors !== 0) entries.push(entry);
  }
  return entries;
}

/** Does this first sector (512 bytes of it) name any partition? A file system's boot sector does not. */
export function isPartitionTable(sector: Buffer): boolean {
  return (mbrEntries(sector)?.length ?? 0) > 0;
}

function readGpt(source: StructureSource): Partition[] {
  const sector = source.sectorBytes;
  const header = source.read(sector, sector);
  if (header.toString('latin1', 0, 8) !== GPT_SIGNATURE) throw new Inconsistent('the GPT has no header');
  const headerBytes = header.readUInt32LE(12);
  if (headerBytes < 92 || headerBytes > sector) throw new Inconsistent(`a GPT header of ${headerBytes} bytes`);
  const checked = Buffer.from(header.subarray(0, headerBytes));
  checked.writeUInt32LE(0, 16);
  if (crc32(checked) !== header.readUInt32LE(16)) throw new Inconsistent('the GPT header fails its checksum');
  const count = header.readUInt32LE(80);
  const entryBytes = header.readUInt32LE(84);
  if (count > GPT_ENTRIES_MAX || entryBytes < 128 || entryBytes > 4096 || entryBytes % 8 !== 0) {
    throw new Inconsistent(`a GPT of ${count} entries of ${entryBytes} bytes`);
  }
  const table = source.read(lba(header.readBigUInt64LE(72), sector), count * entryBytes);
  if (crc32(table) !== header.readUInt32LE(88)) throw new Inconsistent('the GPT entries fail their checksum');
  const partitions: Partition[] = [];
  for (let i = 0; i < count; i++) {
    const entry = table.subarray(i * entryBytes, (i + 1) * entryBytes);
    if (entry.subarray(0, 16).every((byte) => byte === 0)) continue;
    // The last LBA is part of the partition.
    const start = lba(entry.readBigUInt64LE(32), sector);
    partitions.push({ start, end: lba(entry.readBigUInt64LE(40) + 1n, sector) });
  }
  return partitions;
}

function lba(value: bigint, sector: number): number {
  const bytes = value * BigInt(sector);
  if (bytes > BigInt(Number.MAX_SAFE_INTEGER)) throw new Inconsistent(`sector ${value} is on no disk`);
  return Number(bytes);
}

function readMbr(source: StructureSource, entries: MbrEntry[]): Partition[] {
  const sector = source.sectorBytes;
  const partitions: Partition[] = [];
  for (const entry of entries) {
    if (TYPES_EXTENDED.has(entry.type)) partitions.push(...readLogical(source, entry));
    else partitions.push({ start: entry.firstLba * sector, end: (entry.firstLba + entry.sectors) * sector });
  }
  return partitions;
}

/** Each link holds one logical partition relative to itself, and the next link relative to the first. */
function readLogical(source: StructureSource, extended: MbrEntry): Partition[] {
  const sector = source.sectorBytes;
  const partitions: Partition[] = [];
  let link = extended.firstLba;
  for (let i = 0; i < LOGICAL_MAX; i++) {
    const entries = mbrEntries(source.read(link * sector, 512));
    if (!entries) throw new Inconsistent(`the extended partition's link at sector ${link} has no signature`);
    let next: number | undefined;
    for (const entry of entries.slice(0, 2)) {
      if (TYPES_EXTENDED.has(entry.type)) next = extended.firstLba + entry.firstLba;
      else
        partitions.push({
          start: (link + entry.firstLba) * sector,
          end: (link + entry.firstLba + entry.sectors) * sector,
        });
    }
    if (next === undefined) return partitions;
    if (next <= link || next >= extended.firstLba + extended.sectors) {
      throw new Inconsistent(`the extended partition's next link, sector ${next}, is out of its order or range`);
    }
    link = next;
  }
  throw new Inconsistent(`more than ${LOGICAL_MAX} logical partitions`);
}
