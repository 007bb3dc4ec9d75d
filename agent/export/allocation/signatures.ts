/**
 * Other formats' marks. An area that was ext4 or swap once and something else later can still carry the old superblock: its
 * bitmaps would then free the new owner's data. Any mark of another format than the one that claims the area makes it
 * unknown. So does anything at all in the first KiB where the format leaves that to boot loaders and its tools make it
 * zero: what is written to a whole area by somebody else nearly always begins there. A boot loader in such a partition
 * costs only time: it is copied in full. A format that begins at byte 0 checks its own first sector; a partition table
 * that was written into it makes the area unknown all the same.
 */
import { isPartitionTable } from './partitions.ts';
import type { StructureSource } from './source.ts';

interface Mark {
  /** Up to a bracket it is the name by which a reader has its own marks excused. */
  format: string;
  /** Bytes from the area's start; negative ones from its end. */
  at: number;
  /** Latin-1. */
  magic: string;
}

const KIB = 1024;
const MIB = 1024 * KIB;
const GPT = 'EFI PART';
const LABELLED = 'LABELONE';
const LUKS2_SECOND = 'SKUL\xba\xbe';
const BTRFS = '_BHRfS_M';
const OCFS2 = 'OCFSV2';
const REISER = 'ReIsEr';
const MD_MAGIC = '\xfc\x4e\x2b\xa9';

/** UFS2 (0x19540119), UFS1 (0x00011954) and its variants (0x00195612, 0x00095014, 0x00612195, 0x05231994), little-endian. */
const UFS_MAGICS = [
  '\x19\x01\x54\x19',
  '\x54\x19\x01\0',
  '\x12\x56\x19\0',
  '\x14\x50\x09\0',
  '\x95\x21\x61\0',
  '\x94\x19\x23\x05',
];

/** What replaces the signature of a swap area that holds a hibernated system's memory. */
const HIBERNATED = ['S1SUSPEND', 'S2SUSPEND', 'ULSUSPEND', 'LINHIB0001'];

// Places and magics as in util-linux, libblkid/src/superblocks/ and libblkid/src/partitions/, one file for each format.
const MARKS: readonly Mark[] = [
  { format: 'GPT', at: 512, magic: GPT },
  { format: 'GPT', at: 4096, magic: GPT },
  { format: 'GPT (copy)', at: -512, magic: GPT },
  { format: 'GPT (copy)', at: -4096, magic: GPT },
  { format: 'BSD disklabel', at: 512, magic: '\x57\x45\x56\x82' },
  { format: 'Sun disklabel', at: 508, magic: '\xda\xbe' },
  { format: 'LUKS', at: 0, magic: 'LUKS\xba\xbe' },
  ...[16, 32, 64, 128, 256, 512, KIB, 2 * KIB, 4 * KIB].map((at) => ({
    format: 'LUKS2 (second header)',
    at: at * KIB,
    magic: LUKS2_SECOND,
  })),
  ...[0, 512, 1024, 1536].map((at) => ({ format: 'LVM', at, magic: LABELLED })),
  { format: 'Stratis', at: 512 + 4, magic: '!Stra0tis\x86\xff\x02^\x41rh' },
  { format: 'Stratis', at: 9 * 512 + 4, magic: '!Stra0tis\x86\xff\x02^\x41rh' },
  { format: 'VDO', at: 0, magic: 'dmvdo001' },
  { format: 'Ceph BlueStore', at: 0, magic: 'bluestore block device' },
  { format: 'Oracle ASM', at: 32, magic: 'ORCLDISK' },
  { format: 'APFS', at: 32, magic: 'NXSB' },
  { format: 'XFS', at: 0, magic: 'XFSB' },
  { format: 'NTFS', at: 3, magic: 'NTFS    ' },
  ...[4, 8, 16, 64].flatMap((page) =>
    ['SWAPSPACE2', 'SWAP-SPACE', ...HIBERNATED].map((magic) => ({ format: 'swap', at: page * KIB - 10, magic })),
  ),
  { format: 'ReFS', at: 3, magic: 'ReFS\0' },
  { format: 'BitLocker', at: 3, magic: '-FVE-FS-' },
  { format: 'exFAT', at: 3, magic: 'EXFAT   ' },
  { format: 'FAT', at: 82, magic: 'FAT32   ' },
  { format: 'FAT', at: 54, magic: 'FAT1' },
  { format: 'SquashFS', at: 0, magic: 'hsqs' },
  { format: 'qcow2', at: 0, magic: 'QFI\xfb' },
  { format: 'VMDK', at: 0, magic: 'KDMV' },
  { format: 'VHD', at: 0, magic: 'conectix' },
  { format: 'VHDX', at: 0, magic: 'vhdxfile' },
  { format: 'md 1.1', at: 0, magic: MD_MAGIC },
  { format: 'md 1.2', at: 4096, magic: MD_MAGIC },
  { format: 'Intel RAID', at: -1024, magic: 'Intel Raid ISM Cfg Sig. ' },
  { format: 'DDF RAID', at: -512, magic: '\xde\x11\xde\x11' },
  { format: 'bcache', at: 4096 + 24, magic: '\xc6\x85\x73\xf6\x4e\x1a\x45\xca' },
  { format: 'bcachefs', at: 4096 + 24, magic: '\xc6\x85\x73\xf6\x66\xce\x90\xa9' },
  // Its layout, which says where the superblocks are.
  { format: 'bcachefs', at: 3584, magic: '\xc6\x85\x73\xf6\x66\xce\x90\xa9' },
  // The first one's place is that of ext4's own superblock; so it is with NILFS2 and HFS+.
  { format: 'F2FS', at: 4096 + 1024, magic: '\x10\x20\xf5\xf2' },
  { format: 'HFS+ (copy)', at: -1024, magic: 'H+\0\x04' },
  { format: 'HFS+ (copy)', at: -1024, magic: 'HX\0\x05' },
  { format: 'Btrfs', at: 64 * KIB + 64, magic: BTRFS },
  { format: 'Btrfs (copy)', at: 64 * MIB + 64, magic: BTRFS },
  { format: 'Btrfs (copy)', at: 256 * KIB * MIB + 64, magic: BTRFS },
  ...[1, 2, 4, 8].map((at) => ({ format: 'OCFS2', at: at * KIB, magic: OCFS2 })),
  { format: 'OCFS', at: 8 * KIB, magic: 'OracleCFS' },
  { format: 'GFS2', at: 64 * KIB, magic: '\x01\x16\x19\x70' },
  { format: 'VxFS', at: 8 * KIB, magic: '\xa5\x01\xfc\xf5' },
  { format: 'ReiserFS', at: 64 * KIB + 0x34, magic: REISER },
  { format: 'ReiserFS', at: 8 * KIB + 0x34, magic: REISER },
  { format: 'ReiserFS', at: 8 * KIB + 20, magic: REISER },
  { format: 'Reiser4', at: 64 * KIB, magic: REISER },
  { format: 'JFS', at: 32 * KIB, magic: 'JFS1' },
  { format: 'JFS (copy)', at: 60 * KIB, magic: 'JFS1' },
  { format: 'ISO 9660', at: 32 * KIB + 1, magic: 'CD001' },
  { format: 'UDF', at: 32 * KIB + 1, magic: 'BEA01' },
  { format: 'VMFS (volume)', at: MIB, magic: '\x0d\xd0\x01\xc0' },
  { format: 'VMFS', at: 2 * MIB, magic: '\x5e\xf1\xab\x2f' },
  ...[0, 8, 64, 256].flatMap((at) => ufsMarks(at * KIB)),
];

/** UFS has its superblock in one of four places, the magic at byte 1372 of it, in either byte order. */
function ufsMarks(superblock: number): Mark[] {
  return UFS_MAGICS.flatMap((magic) =>
    [magic, Buffer.from(magic, 'latin1').reverse().toString('latin1')].map((bytes) => ({
      format: 'UFS',
      at: superblock + 1372,
      magic: bytes,
    })),
  );
}

/** ZFS keeps two labels of 256 KiB at each end, each with uberblocks from 128 KiB on, aligned to 1 KiB; either byte order. */
const ZFS_UBERBLOCKS = 128 * KIB;
const ZFS_LABEL = 256 * KIB;
const ZFS_MAGICS = ['\x0c\xb1\xba\0\0\0\0\0', '\0\0\0\0\0\xba\xb1\x0c'];
/** NILFS2's second superblock: s_rev_level, and the magic behind s_minor_rev_level. */
const NILFS_REVISION = '\x02\0\0\0';
const NILFS_MAGIC = '\x34\x34';
const BOOT_BYTES = 1024;

/** Whose marks are no others': the format that claims the area. */
export interface Claimant {
  /** As in MARKS, without what stands in brackets there. */
  format: string;
  /** Its structures begin at byte 0. Otherwise the first KiB must be zero. */
  ownsStart: boolean;
}

/** The first format other than the claimant's whose mark stands in the area [start, end), or undefined. */
export function otherFormat(
  source: StructureSource,
  start: number,
  end: number,
  claimant: Claimant | undefined,
): string | undefined {
  const has = (at: number, magic: string): boolean =>
    at >= start && at + magic.length <= end && source.read(at, magic.length).toString('latin1') === magic;
  const others = claimant ? MARKS.filter(({ format }) => format.split(' (')[0] !== claimant.format) : MARKS;
  const named = others.find(({ at, magic }) => has(at < 0 ? end + at : start + at, magic));
  if (named) return named.format;
  if (hasZfsLabel(source, start, end)) return 'ZFS';
  const array = arrayMember(source, start, end);
  if (array !== undefined) return array;
  const nilfs = start + (Math.floor((end - start) / 512) - 8) * 512;
  if (has(nilfs, NILFS_REVISION) && has(nilfs + 6, NILFS_MAGIC)) return 'NILFS2 (copy)';
  return occupiedStart(source, start, end, claimant?.ownsStart ?? false);
}

/**
 * The RAID format whose mark stands at the end of [start, end), or undefined. What begins such an area may be the array's own partition
 * table, while most of what that calls a partition lies on other disks.
 */
export function arrayMember(source: StructureSource, start: number, end: number): string | undefined {
  const has = (at: number, magic: string): boolean =>
    at >= start && at + magic.length <= end && source.read(at, magic.length).toString('latin1') === magic;
  const size = end - start;
  // Both at the end: 64 KiB aligned, and 8 KiB before the end, aligned to 4 KiB.
  if (has(start + Math.floor(size / 65536) * 65536 - 65536, MD_MAGIC)) return 'md 0.90';
  if (has(start + Math.floor((size - 8192) / 4096) * 4096, MD_MAGIC)) return 'md 1.0';
  return MARKS.find(({ format, at, magic }) => format.endsWith(' RAID') && at < 0 && has(end + at, magic))?.format;
}

function hasZfsLabel(source: StructureSource, start: number, end: number): boolean {
  const last = start + Math.floor((end - start) / ZFS_LABEL) * ZFS_LABEL - ZFS_LABEL;
  return [start, start + ZFS_LABEL, last - ZFS_LABEL, last].some((label) => {
    if (label < start || label + ZFS_LABEL > end) return false;
    const blocks = source.read(label + ZFS_UBERBLOCKS, ZFS_LABEL - ZFS_UBERBLOCKS);
    for (let at = 0; at < blocks.length; at += KIB) {
      if (ZFS_MAGICS.includes(blocks.toString('latin1', at, at + 8))) return true;
    }
    return false;
  });
}

/** What stands at the start that is not the claimant's, or undefined. */
function occupiedStart(source: StructureSource, start: number, end: number, owned: boolean): string | undefined {
  const boot = source.read(start, Math.min(BOOT_BYTES, end - start));
  if (boot.length >= 512 && isPartitionTable(boot)) return 'a partition table of its own';
  return owned || boot.every((byte) => byte === 0) ? undefined : 'its boot sectors are not empty';
}
