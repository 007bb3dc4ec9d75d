/** The MFT of a volume: its records by number, and the content of the files that they describe. */
import type { NtfsVolume } from './ntfs-boot.ts';
import { Fields } from './ntfs-fields.ts';
import { ATTRIBUTE, type Attribute, type MftRecord, parseRecord, type Run, referenced } from './ntfs-record.ts';
import { Inconsistent } from './source.ts';

const MFT_RECORD = 0;
/** Windows' own limit of an attribute list. */
const LIST_MAX_BYTES = 256 * 1024;
/** Records that one read brings. */
const BATCH_RECORDS = 64;

/** Content of a file: where it lies, without holes, in the order of the file. */
export interface Stream {
  runs: Run[];
  dataBytes: number;
  initializedBytes: number;
}

export class Mft {
  readonly volume: NtfsVolume;
  readonly #stream: Stream;

  /** Inconsistent when the MFT's own record does not lead to all of it. */
  constructor(volume: NtfsVolume) {
    this.volume = volume;
    const { source, start, clusterBytes, recordBytes, mft, clusters } = volume;
    const record = parseRecord(source.read(start + mft * clusterBytes, recordBytes), MFT_RECORD, clusters);
    // The records that its attribute list names lie in the part that is known by then.
    this.#stream = { runs: [], dataBytes: 0, initializedBytes: 0 };
    this.#collect(record, MFT_RECORD, this.#stream);
    if (this.#stream.runs[0]?.lcn !== mft || this.#stream.runs[0].vcn !== 0) {
      throw new Inconsistent('NTFS: the MFT begins elsewhere than the boot sector says');
    }
    if (this.#stream.initializedBytes > this.#stream.dataBytes) throw new Inconsistent('NTFS: the MFT has no size');
  }

  /** Number of records; those behind were never written. */
  get records(): number {
    return Math.floor(this.#stream.initializedBytes / this.volume.recordBytes);
  }

  /** Inconsistent when there is no such record in use. */
  record(number: number): MftRecord {
    const { recordBytes, clusters } = this.volume;
    const raw = this.read(this.#stream, number * recordBytes, recordBytes);
    const record = parseRecord(raw, number, clusters);
    if (!record.inUse) throw new Inconsistent(`NTFS: record ${number} is not in use`);
    return record;
  }

  /** All records, in use or not. Bounded by the size of the volume. */
  *all(): Generator<[number, MftRecord]> {
    const { recordBytes, clusters } = this.volume;
    for (let first = 0; first < this.records; first += BATCH_RECORDS) {
      const count = Math.min(BATCH_RECORDS, this.records - first);
      const raw = this.read(this.#stream, first * recordBytes, count * recordBytes);
      for (let i = 0; i < count; i++) {
        const number = first + i;
        yield [number, parseRecord(raw.subarray(i * recordBytes, (i + 1) * recordBytes), number, clusters)];
      }
    }
  }

  /** The unnamed data of file `number`, whose clusters are all in runs. */
  stream(number: number): Stream {
    const stream: Stream = { runs: [], dataBytes: 0, initializedBytes: 0 };
    this.#collect(this.record(number), number, stream);
    return stream;
  }

  /** Reads content that lies in runs; Inconsistent where it does not. `scratch` as a source has it. */
  read(stream: Stream, offset: number, length: number, scratch?: Buffer): Buffer {
    const { source, start, clusterBytes } = this.volume;
    const parts: Buffer[] = [];
    let index = firstRunBehind(stream.runs, offset / clusterBytes);
    for (let at = offset; at < offset + length; ) {
      const run = stream.runs[index++];
      if (!run || run.vcn * clusterBytes > at) throw new Inconsistent('NTFS: a part of its metadata has no clusters');
      const step = Math.min(offset + length, (run.vcn + run.clusters) * clusterBytes) - at;
      const from = start + run.lcn * clusterBytes + at - run.vcn * clusterBytes;
      parts.push(source.read(from, step, scratch?.subarray(at - offset)));
      at += step;
    }
    const [only] = parts;
    return only && parts.length === 1 ? only : Buffer.concat(parts);
  }

  /** Adds the runs of the record's unnamed data to `stream`, also those that stand in other records. */
  #collect(record: MftRecord, number: number, stream: Stream): void {
    const own = unnamedData(record, 0);
    const list = record.attributes.find(({ type }) => type === ATTRIBUTE.list);
    if (own) this.#append(stream, own);
    if (!list) {
      if (!own) throw new Inconsistent(`NTFS: record ${number} has no data in clusters`);
      return;
    }
    const entries = new Fields(this.#listBytes(list));
    for (let at = 0; at < entries.bytes.length; ) {
      const length = entries.u16(at + 4);
      if (length < 26) throw new Inconsistent('NTFS: an attribute list has an entry without size');
      const wanted = entries.u32(at) === ATTRIBUTE.data && entries.u8(at + 6) === 0;
      const firstVcn = entries.u64(at + 8);
      const holder = referenced(entries, at + 16);
      if (wanted && !(own && firstVcn === 0 && holder === number)) {
        const other = this.record(holder);
        const part = unnamedData(other, firstVcn);
        if (other.base !== number || !part) throw new Inconsistent('NTFS: an attribute list does not hold');
        this.#append(stream, part);
      }
      at += length;
    }
  }

  #append(stream: Stream, part: Attribute): void {
    if (part.value !== undefined) throw new Inconsistent('NTFS: metadata without clusters');
    const last = stream.runs.at(-1);
    const next = last ? last.vcn + last.clusters : 0;
    const [first] = part.runs;
    if (!first || part.firstVcn !== next || first.vcn !== next) throw new Inconsistent('NTFS: metadata with a hole');
    stream.runs.push(...part.runs);
    if (part.firstVcn !== 0) return;
    stream.dataBytes = part.dataBytes;
    stream.initializedBytes = part.initializedBytes;
  }

  #listBytes(list: Attribute): Buffer {
    if (list.value) return list.value;
    if (list.dataBytes > LIST_MAX_BYTES || list.firstVcn !== 0)
      throw new Inconsistent('NTFS: an attribute list is too large');
    return this.read(list, 0, list.dataBytes);
  }
}

function unnamedData(record: MftRecord, firstVcn: number): Attribute | undefined {
  return record.attributes.find(
    (attribute) => attribute.type === ATTRIBUTE.data && !attribute.named && attribute.firstVcn === firstVcn,
  );
}

/** Index of the first run that ends behind cluster `vcn`. */
function firstRunBehind(runs: readonly Run[], vcn: number): number {
  let low = 0;
  let high = runs.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const run = runs[middle];
    if (run && run.vcn + run.clusters <= vcn) low = middle + 1;
    else high = middle;
  }
  return low;
}
