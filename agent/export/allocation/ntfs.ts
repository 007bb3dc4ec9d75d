/**
 * Free clusters of an NTFS volume from its $Bitmap. Only a volume at rest is trusted (see ntfs-state.ts); everything unknown or
 * contradictory makes it Inconsistent, and it is copied in full.
 *
 * NTFS has no checksums. Instead every record of the MFT is read: none of the clusters that any file has may be free in the
 * bitmap. That holds for the metadata files too, and an older volume's bitmap does not pass with a newer one's files.
 *
 * Hibernation: hiberfil.sys must be empty or begin with zeros; and the log of a volume that Windows had in use when it was
 * hibernated, this one or another one of the machine, is not closed.
 */
import { type NtfsVolume, readNtfsBoot } from './ntfs-boot.ts';
import { Fields } from './ntfs-fields.ts';
import { Mft } from './ntfs-mft.ts';
import { ATTRIBUTE, type MftRecord } from './ntfs-record.ts';
import { checkShadowCopies } from './ntfs-shadow.ts';
import { checkLog, checkVolumeFlags } from './ntfs-state.ts';
import { type FreeSpace, firstBehind, RangeBuilder } from './ranges.ts';
import { Inconsistent, type StructureSource } from './source.ts';

const BITMAP_RECORD = 6;
const BITMAP_STEP_BYTES = 64 * 1024;
const HIBERNATION_FILE = 'hiberfil.sys';
const HIBERNATION_HEADER_BYTES = 4096;

/** Free space of the volume in [start, end), or undefined when there is none. Inconsistent: there is one, not to be trusted. */
export function ntfsFree(source: StructureSource, start: number, end: number): FreeSpace | undefined {
  const volume = readNtfsBoot(source, start, end);
  if (!volume) return undefined;
  checkShadowCopies(volume);
  const mft = new Mft(volume);
  checkVolumeFlags(mft);
  checkLog(mft);
  const free = readBitmap(mft);
  for (const [number, record] of mft.all()) {
    checkClusters(volume, free, number, record);
    checkHibernation(mft, record);
  }
  return { end: volume.end, free };
}

function readBitmap(mft: Mft): Float64Array<SharedArrayBuffer> {
  const { volume } = mft;
  const bitmap = mft.stream(BITMAP_RECORD);
  if (bitmap.initializedBytes !== bitmap.dataBytes || bitmap.dataBytes * 8 < volume.clusters) {
    throw new Inconsistent('NTFS: its bitmap is too short');
  }
  const free = new RangeBuilder();
  const place = (cluster: number): number => volume.start + cluster * volume.clusterBytes;
  const scratch = Buffer.alloc(BITMAP_STEP_BYTES);
  for (let at = 0; at < bitmap.dataBytes; at += BITMAP_STEP_BYTES) {
    const bytes = mft.read(bitmap, at, Math.min(BITMAP_STEP_BYTES, bitmap.dataBytes - at), scratch);
    visitZeros(bytes, (from, to) => {
      const last = at * 8 + to;
      if (last > volume.clusters) throw new Inconsistent('NTFS: its bitmap has free clusters behind its end');
      free.add(place(at * 8 + from), place(last));
    });
  }
  return free.finish();
}

/** Visits ranges of bits that are 0. */
function visitZeros(bytes: Buffer, visit: (from: number, to: number) => void): void {
  const bits = bytes.length * 8;
  let open = -1;
  for (let bit = 0; bit < bits; ) {
    const byte = bytes[bit >> 3] ?? 0xff;
    // Whole bytes of one kind are most of every bitmap.
    const step = (bit & 7) === 0 && (byte === 0 || byte === 0xff) ? 8 : 1;
    if (((byte >> (bit & 7)) & 1) === 0) {
      if (open < 0) open = bit;
    } else if (open >= 0) {
      visit(open, bit);
      open = -1;
    }
    bit += step;
  }
  if (open >= 0) visit(open, bits);
}

/** Inconsistent when a cluster of the file is free. */
function checkClusters(volume: NtfsVolume, free: Float64Array, number: number, record: MftRecord): void {
  for (const { runs } of record.attributes) {
    for (const { lcn, clusters } of runs) {
      const from = volume.start + lcn * volume.clusterBytes;
      const next = free[2 * firstBehind(free, from)];
      if (next !== undefined && next < from + clusters * volume.clusterBytes) {
        throw new Inconsistent(`NTFS: clusters of file ${number} are free`);
      }
    }
  }
}

/** Inconsistent when the record is that of a hibernation file that may hold a machine's memory. */
function checkHibernation(mft: Mft, record: MftRecord): void {
  const named = record.attributes.some(
    ({ type, value }) => type === ATTRIBUTE.fileName && value && isHibernationFile(value),
  );
  if (!named) return;
  const data = record.attributes.find(
    ({ type, named, firstVcn }) => type === ATTRIBUTE.data && !named && firstVcn === 0,
  );
  if (!data) throw new Inconsistent('NTFS: its hibernation file cannot be read');
  const length = Math.min(HIBERNATION_HEADER_BYTES, data.initializedBytes);
  const header = data.value ? data.value.subarray(0, length) : mft.read(data, 0, length);
  if (!header.every((byte) => byte === 0)) throw new Inconsistent('NTFS: it is hibernated');
}

function isHibernationFile(value: Buffer): boolean {
  const fields = new Fields(value);
  const length = fields.u8(64);
  if (length !== HIBERNATION_FILE.length) return false;
  return (
    fields
      .slice(66, 66 + 2 * length)
      .toString('utf16le')
      .toLowerCase() === HIBERNATION_FILE
  );
}
