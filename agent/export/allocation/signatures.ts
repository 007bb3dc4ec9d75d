/**
 * Other formats' marks. A partition that was ext4 or swap once and something else later can still carry the old superblock:
 * its bitmaps would then free the new owner's data. Any mark of another format makes the area unknown.
 */
import type { StructureSource } from './source.ts';

interface Mark {
  format: string;
  /** Bytes from the partition's start. */
  at: number;
  /** Latin-1. */
  magic: string;
}

// Each format's own documentation, as collected by util-linux's libblkid.
const MARKS: readonly Mark[] = [
  { format: 'LUKS', at: 0, magic: 'LUKS\xba\xbe' },
  { format: 'LUKS2 (second header)', at: 0x4000, magic: 'SKUL\xba\xbe' },
  { format: 'LVM', at: 0, magic: 'LABELONE' },
  { format: 'LVM', at: 512, magic: 'LABELONE' },
  { format: 'LVM', at: 1024, magic: 'LABELONE' },
  { format: 'LVM', at: 1536, magic: 'LABELONE' },
  { format: 'XFS', at: 0, magic: 'XFSB' },
  { format: 'NTFS', at: 3, magic: 'NTFS    ' },
  { format: 'BitLocker', at: 3, magic: '-FVE-FS-' },
  { format: 'exFAT', at: 3, magic: 'EXFAT   ' },
  { format: 'FAT', at: 82, magic: 'FAT32   ' },
  { format: 'FAT', at: 54, magic: 'FAT1' },
  { format: 'md 1.1', at: 0, magic: '\xfc\x4e\x2b\xa9' },
  { format: 'md 1.2', at: 4096, magic: '\xfc\x4e\x2b\xa9' },
  { format: 'bcache', at: 4096 + 24, magic: '\xc6\x85\x73\xf6\x4e\x1a\x45\xca' },
  { format: 'bcachefs', at: 4096 + 24, magic: '\xc6\x85\x73\xf6\x66\xce\x90\xa9' },
  { format: 'Btrfs', at: 65536 + 64, magic: '_BHRfS_M' },
  { format: 'ReiserFS', at: 65536 + 52, magic: 'ReIsEr' },
  { format: 'JFS', at: 32768, magic: 'JFS1' },
  { format: 'ISO 9660', at: 32769, magic: 'CD001' },
];
/** ZFS keeps two labels of 256 KiB at the start, each with uberblocks from 128 KiB on, aligned to 1 KiB; either byte order. */
const ZFS_UBERBLOCKS = 128 * 1024;
const ZFS_LABEL = 256 * 1024;
const ZFS_MAGICS = ['\x0c\xb1\xba\x00\x00\x00\x00\x00', '\x00\x00\x00\x00\x00\xba\xb1\x0c'];
/** md 0.90 and 1.0 keep their superblock at the end: 64 KiB aligned, and 8 KiB before the end, aligned to 4 KiB. */
const MD_MAGIC = '\xfc\x4e\x2b\xa9';

/** The first other format whose mark stands in the partition [start, end), or undefined. */
export function otherFormat(source: StructureSource, start: number, end: number): string | undefined {
  const has = (at: number, magic: string): boolean =>
    at >= start && at + magic.length <= end && source.read(at, magic.length).toString('latin1') === magic;
  for (const mark of MARKS) if (has(start + mark.at, mark.magic)) return mark.format;
  for (let at = start + ZFS_UBERBLOCKS; at + 1024 <= Math.min(end, start + ZFS_LABEL); at += 1024) {
    const found = source.read(at, 8).toString('latin1');
    if (ZFS_MAGICS.includes(found)) return 'ZFS';
  }
  const size = end - start;
  if (has(start + Math.floor(size / 65536) * 65536 - 65536, MD_MAGIC)) return 'md 0.90';
  if (has(start + Math.floor((size - 8192) / 4096) * 4096, MD_MAGIC)) return 'md 1.0';
  return undefined;
}
