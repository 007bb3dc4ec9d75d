/**
 * An LVM2 physical volume's label and metadata areas (lvm2: lib/label/label.h, lib/format_text/layout.h). Everything has a
 * checksum, and all of it is checked.
 */
import { crc32 } from 'node:zlib';
import { Inconsistent, type StructureSource } from './source.ts';

const SECTOR = 512;
const LABEL_ID = 'LABELONE';
const LABEL_TYPE = 'LVM2 001';
/** LVM looks for its label in this many sectors and writes it into the second one. */
const LABEL_SECTORS = 4;
const LABEL_SECTOR = 1;
/** INITIAL_CRC of lib/misc/crc.h. */
const INITIAL_CRC = 0xf597a6cf;
const AREA_HEADER_BYTES = 512;
const AREA_MAGIC = '\x20LVM2\x20x[5A%r0N*>';
const AREA_VERSION = 1;
const FLAG_IGNORED = 1;
/** LVM writes two at most. */
const AREAS_MAX = 4;
/** LVM's default area has 1 MiB. */
const TEXT_MAX_BYTES = 8 * 1024 * 1024;

/** A range of the disk, bytes. */
interface DiskRange {
  start: number;
  end: number;
}

export interface LvmLabel {
  /** 32 characters. */
  uuid: string;
  /** Size of the physical volume, bytes. */
  sizeBytes: number;
  /** Of the label and the metadata areas; no extent lies there. */
  own: readonly DiskRange[];
  /** The volume group's metadata. */
  text: string;
}

/** Is there an LVM2 label in [start, end)? It may be a bad one. */
export function hasLvmLabel(source: StructureSource, start: number, end: number): boolean {
  if (end - start < LABEL_SECTORS * SECTOR) return false;
  const head = source.read(start, LABEL_SECTORS * SECTOR);
  return Array.from({ length: LABEL_SECTORS }, (_, i) => head.toString('latin1', i * SECTOR, i * SECTOR + 8)).includes(
    LABEL_ID,
  );
}

/** Reads the label and the current metadata of the physical volume in [start, end). Inconsistent when they do not hold together. */
export function readLvmLabel(source: StructureSource, start: number, end: number): LvmLabel {
  const head = source.read(start, LABEL_SECTORS * SECTOR);
  const label = head.subarray(LABEL_SECTOR * SECTOR, (LABEL_SECTOR + 1) * SECTOR);
  // pvcreate makes all of it zero except for the label: anything else there was written later by somebody else.
  const rest = [head.subarray(0, LABEL_SECTOR * SECTOR), head.subarray((LABEL_SECTOR + 1) * SECTOR)];
  if (!rest.every((bytes) => bytes.every((byte) => byte === 0))) {
    throw new Inconsistent('LVM: there is something beside its label');
  }
  const offset = label.readUInt32LE(20);
  const plausible =
    label.toString('latin1', 0, 8) === LABEL_ID &&
    label.readBigUInt64LE(8) === BigInt(LABEL_SECTOR) &&
    label.readUInt32LE(16) === lvmCrc(label.subarray(20)) &&
    label.toString('latin1', 24, 32) === LABEL_TYPE &&
    offset >= 32 &&
    offset <= SECTOR - 64;
  if (!plausible) throw new Inconsistent('LVM: its label does not hold');
  const header = label.subarray(offset);
  const uuid = header.toString('latin1', 0, 32);
  const sizeBytes = wide(header, 32);
  if (sizeBytes > end - start || sizeBytes === 0) {
    throw new Inconsistent(`LVM: a physical volume of ${sizeBytes} bytes in an area of ${end - start}`);
  }
  const data = locations(header, 40);
  const metadata = locations(header, data.next);
  const areas = metadata.list.map(({ at, bytes }) => {
    if (bytes < 2 * AREA_HEADER_BYTES || at + bytes > sizeBytes) {
      throw new Inconsistent('LVM: a metadata area is outside of its physical volume');
    }
    return { start: start + at, end: start + at + bytes };
  });
  // A second copy that says something else: nobody knows which one counts before LVM has compared them.
  const texts = new Set(areas.map((area) => readArea(source, start, area)));
  const [text] = texts;
  if (text === undefined || texts.size !== 1) throw new Inconsistent('LVM: its metadata areas do not agree');
  return { uuid, sizeBytes, own: [{ start, end: start + LABEL_SECTORS * SECTOR }, ...areas], text };
}

/** A list of places, ended by one that is zero: struct disk_locn. */
function locations(header: Buffer, from: number): { list: { at: number; bytes: number }[]; next: number } {
  const list: { at: number; bytes: number }[] = [];
  for (let at = from; at + 16 <= header.length && list.length <= AREAS_MAX; at += 16) {
    const place = wide(header, at);
    if (place === 0) return { list, next: at + 16 };
    list.push({ at: place, bytes: wide(header, at + 8) });
  }
  throw new Inconsistent('LVM: its header has no end');
}

/** The text of one metadata area of the physical volume at `start`. */
function readArea(source: StructureSource, start: number, area: DiskRange): string {
  const header = source.read(area.start, AREA_HEADER_BYTES);
  const size = area.end - area.start;
  const holds =
    header.readUInt32LE(0) === lvmCrc(header.subarray(4)) &&
    header.toString('latin1', 4, 20) === AREA_MAGIC &&
    header.readUInt32LE(20) === AREA_VERSION &&
    wide(header, 24) === area.start - start &&
    wide(header, 32) === size;
  if (!holds) throw new Inconsistent('LVM: the header of a metadata area does not hold');
  const [current, precommitted] = [40, 64].map((at) => ({
    offset: wide(header, at),
    bytes: wide(header, at + 8),
    checksum: header.readUInt32LE(at + 16),
    flags: header.readUInt32LE(at + 20),
  }));
  if (!current || current.offset === 0 || (current.flags & FLAG_IGNORED) !== 0) {
    throw new Inconsistent('LVM: a metadata area is not in use');
  }
  if (precommitted && precommitted.offset !== 0)
    throw new Inconsistent('LVM: a change of its metadata was not finished');
  const { offset, bytes } = current;
  if (offset < AREA_HEADER_BYTES || offset >= size || bytes > size - AREA_HEADER_BYTES || bytes > TEXT_MAX_BYTES) {
    throw new Inconsistent('LVM: its metadata is outside of its area');
  }
  // The area behind its header is a ring.
  const first = Math.min(bytes, size - offset);
  const text = Buffer.concat([
    source.read(area.start + offset, first),
    source.read(area.start + AREA_HEADER_BYTES, bytes - first),
  ]);
  if (lvmCrc(text) !== current.checksum) throw new Inconsistent('LVM: its metadata fails its checksum');
  return text.toString('latin1').replace(/\0+$/, '');
}

/** calc_crc() of lib/misc/crc.c: CRC-32 with its own start and without the final inversion. */
function lvmCrc(bytes: Buffer): number {
  return ~crc32(bytes, ~INITIAL_CRC >>> 0) >>> 0;
}

function wide(bytes: Buffer, at: number): number {
  const value = bytes.readBigUInt64LE(at);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new Inconsistent(`LVM: ${value} is not plausible`);
  return Number(value);
}
