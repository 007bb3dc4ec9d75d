/** Records of the MFT and their attributes (ntfs-3g: include/ntfs-3g/layout.h, MFT_RECORD and ATTR_RECORD). */
import { Fields, undoFixups } from './ntfs-fields.ts';
import { Inconsistent } from './source.ts';

export const ATTRIBUTE = {
  list: 0x20,
  fileName: 0x30,
  volumeInformation: 0x70,
  data: 0x80,
} as const;

const MAGIC = 'FILE';
const FLAG_IN_USE = 1;
const END = 0xffffffff;
/** Since NTFS 3.1 the record's own number stands before the update sequence, which therefore begins later. */
const ARRAY_WITH_NUMBER = 0x30;
const REFERENCE_BITS = 2 ** 48;

/** Clusters of an attribute that lie side by side. Holes are left out. */
export interface Run {
  /** Cluster of the attribute. */
  vcn: number;
  /** Cluster of the volume. */
  lcn: number;
  clusters: number;
}

export interface Attribute {
  type: number;
  named: boolean;
  /** Of a resident one. */
  value: Buffer | undefined;
  /** Of one that is not: where its clusters lie, and what they are of the attribute (the end is not part of it). */
  runs: Run[];
  firstVcn: number;
  endVcn: number;
  /** Bytes; only where firstVcn is 0. */
  dataBytes: number;
  initializedBytes: number;
}

export interface MftRecord {
  inUse: boolean;
  /** Number of the record that this one continues; 0 when it is one of its own. */
  base: number;
  attributes: Attribute[];
}

/** Reads record `number` out of its bytes, which are changed. Inconsistent when it does not hold together. */
export function parseRecord(raw: Buffer, number: number, clusters: number): MftRecord {
  const record = undoFixups(raw, MAGIC);
  const inUse = (record.u16(22) & FLAG_IN_USE) !== 0;
  if (inUse && record.u16(4) >= ARRAY_WITH_NUMBER && record.u32(44) !== number % 2 ** 32) {
    throw new Inconsistent(`NTFS: record ${number} is another one`);
  }
  const base = record.u32(32) + record.u16(36) * 2 ** 32;
  const used = new Fields(record.slice(0, record.u32(24)));
  return { inUse, base, attributes: inUse ? parseAttributes(used, number, clusters) : [] };
}

/** The number of the record that a reference names; its upper part is a sequence number. */
export function referenced(fields: Fields, at: number): number {
  return (fields.u32(at) + fields.u16(at + 4) * 2 ** 32) % REFERENCE_BITS;
}

function parseAttributes(record: Fields, number: number, clusters: number): Attribute[] {
  const attributes: Attribute[] = [];
  // Each has 16 bytes at least, so that the record bounds the loop.
  for (let at = record.u16(20); record.u32(at) !== END; ) {
    const length = record.u32(at + 4);
    if (length < 16 || length % 8 !== 0) throw new Inconsistent(`NTFS: an attribute of record ${number} has no size`);
    attributes.push(parseAttribute(new Fields(record.slice(at, at + length)), clusters));
    at += length;
  }
  return attributes;
}

function parseAttribute(fields: Fields, clusters: number): Attribute {
  const common = { type: fields.u32(0), named: fields.u8(9) !== 0 };
  if (fields.u8(8) === 0) {
    const at = fields.u16(20);
    const value = fields.slice(at, at + fields.u32(16));
    return {
      ...common,
      value,
      runs: [],
      firstVcn: 0,
      endVcn: 0,
      dataBytes: value.length,
      initializedBytes: value.length,
    };
  }
  const firstVcn = fields.u64(16);
  // An attribute of no clusters has -1 here.
  const empty = fields.u32(24) === END && fields.u32(28) === END;
  const endVcn = empty ? 0 : fields.u64(24) + 1;
  const runs = parseRuns(fields, firstVcn, endVcn, clusters);
  const sizes = firstVcn === 0 ? { dataBytes: fields.u64(48), initializedBytes: fields.u64(56) } : undefined;
  return { ...common, value: undefined, runs, firstVcn, endVcn, ...(sizes ?? { dataBytes: 0, initializedBytes: 0 }) };
}

/** Mapping pairs: lengths and signed distances, each in as many bytes as the half of a leading byte says. */
function parseRuns(fields: Fields, firstVcn: number, endVcn: number, clusters: number): Run[] {
  const runs: Run[] = [];
  let vcn = firstVcn;
  let lcn = 0;
  for (let at = fields.u16(32); fields.u8(at) !== 0; ) {
    const lengthBytes = fields.u8(at) & 0xf;
    const distanceBytes = fields.u8(at) >> 4;
    if (lengthBytes < 1 || lengthBytes > 6 || distanceBytes > 6) throw new Inconsistent('NTFS: a run is not plausible');
    const length = fields.slice(at + 1, at + 1 + lengthBytes).readUIntLE(0, lengthBytes);
    const distance = fields.slice(at + 1 + lengthBytes, at + 1 + lengthBytes + distanceBytes);
    if (length === 0 || vcn + length > endVcn) throw new Inconsistent('NTFS: runs go beyond their attribute');
    if (distanceBytes > 0) {
      lcn += distance.readIntLE(0, distanceBytes);
      if (lcn < 0 || lcn + length > clusters) throw new Inconsistent('NTFS: a run is outside of the volume');
      runs.push({ vcn, lcn, clusters: length });
    }
    vcn += length;
    at += 1 + lengthBytes + distanceBytes;
  }
  if (vcn !== endVcn) throw new Inconsistent('NTFS: an attribute has fewer clusters than it says');
  return runs;
}
