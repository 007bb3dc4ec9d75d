/** The boot sector of NTFS and its copy in the volume's last sector (ntfs-3g: include/ntfs-3g/layout.h, NTFS_BOOT_SECTOR). */
import { Fields } from './ntfs-fields.ts';
import { Inconsistent, type StructureSource } from './source.ts';

const OEM_ID = 'NTFS    ';
const SIGNATURE = 0xaa55;
/** Windows' own limit. */
const CLUSTER_MAX_BYTES = 2 * 1024 * 1024;
/** 2^32 - 1 clusters: more cannot be addressed by any Windows. */
const CLUSTERS_MAX = 2 ** 32;
/** The part without boot code, which alone is sure to be the same in the copy: OEM id, geometry, places, serial number. */
const SAME_FROM = 3;
const SAME_TO = 0x50;

export interface NtfsVolume {
  source: StructureSource;
  /** On the disk, bytes. The end is that of the last sector, which holds the boot sector's copy. */
  start: number;
  end: number;
  clusterBytes: number;
  clusters: number;
  recordBytes: number;
  /** First cluster of the MFT. */
  mft: number;
}

/** The volume in [start, end), or undefined when there is none. Inconsistent: it is not as it should be. */
export function readNtfsBoot(source: StructureSource, start: number, end: number): NtfsVolume | undefined {
  if (end - start < 64 * 1024) return undefined;
  const boot = new Fields(source.read(start, 512));
  if (boot.latin1(3, OEM_ID.length) !== OEM_ID) return undefined;
  const sectorBytes = boot.u16(0x0b);
  const clusterBytes = sectorBytes * clusterSectors(boot.u8(0x0d));
  const sectors = boot.u64(0x28);
  const recordBytes = sizeOf(boot.u8(0x40), clusterBytes);
  const clusters = Math.floor((sectors * sectorBytes) / clusterBytes);
  const mft = boot.u64(0x30);
  // Fields of FAT, which are zero in NTFS: reserved sectors, FATs, root entries, sectors, sectors of a FAT, large sectors.
  const unused = boot.u16(0x0e) + boot.u8(0x10) + boot.u16(0x11) + boot.u16(0x13) + boot.u16(0x16) + boot.u32(0x20);
  const plausible =
    boot.u16(0x1fe) === SIGNATURE &&
    unused === 0 &&
    [512, 1024, 2048, 4096].includes(sectorBytes) &&
    clusterBytes >= 512 &&
    clusterBytes <= CLUSTER_MAX_BYTES &&
    [1024, 2048, 4096].includes(recordBytes) &&
    clusters > 0 &&
    clusters < CLUSTERS_MAX &&
    mft < clusters &&
    boot.u64(0x38) < clusters;
  if (!plausible) throw new Inconsistent('NTFS: its boot sector is not plausible');
  const last = start + sectors * sectorBytes;
  if (last + sectorBytes > end) throw new Inconsistent('NTFS: its end is outside of the area');
  const copy = source.read(last, 512);
  if (!copy.subarray(SAME_FROM, SAME_TO).equals(boot.bytes.subarray(SAME_FROM, SAME_TO))) {
    throw new Inconsistent("NTFS: the copy of its boot sector at the volume's end is another one");
  }
  return { source, start, end: last + sectorBytes, clusterBytes, clusters, recordBytes, mft };
}

/** Up to 128 it is the number, above the negative of its logarithm. Zero when it is neither. */
function clusterSectors(value: number): number {
  if (value > 128) return 2 ** (256 - value);
  return value > 0 && (value & (value - 1)) === 0 ? value : 0;
}

/** Clusters, or as a negative number the logarithm of the bytes. */
function sizeOf(value: number, clusterBytes: number): number {
  return value < 128 ? value * clusterBytes : 2 ** (256 - value);
}
