/**
 * Shadow copies (restore points) of a volume. They keep old content only where it was written over since: a block that a shadow
 * copy needs can be free for the file system. Places as in the format's description in libvshadow's documentation.
 */
import type { NtfsVolume } from './ntfs-boot.ts';
import { Fields } from './ntfs-fields.ts';
import { Inconsistent } from './source.ts';

const HEADER_AT = 0x1e00;
/** {3808876b-c176-4e48-b7ae-04046e6cc752}. */
const IDENTIFIER = '6b87083876c1484eb7ae04046e6cc752';
const CATALOG_BLOCK_BYTES = 16 * 1024;
const CATALOG_HEADER_BYTES = 128;
const CATALOG_ENTRY_BYTES = 128;
const RECORD_TYPE_CATALOG = 2;
/** Entries that hold nothing. Those of shadow copies have 2 and 3. */
const ENTRY_EMPTY_MAX = 1;
/** Windows keeps 64 shadow copies at most, of two entries each. */
const CATALOG_BLOCKS_MAX = 16;

/** Inconsistent when the volume has shadow copies, or when that cannot be told. */
export function checkShadowCopies({ source, start, end }: NtfsVolume): void {
  const header = new Fields(source.read(start + HEADER_AT, 128));
  if (header.slice(0, 16).toString('hex') !== IDENTIFIER) return;
  let offset = header.u64(48);
  for (let blocks = 0; offset !== 0; blocks++) {
    if (blocks === CATALOG_BLOCKS_MAX || start + offset + CATALOG_BLOCK_BYTES > end) {
      throw new Inconsistent('NTFS: its catalogue of shadow copies has no end');
    }
    const block = new Fields(source.read(start + offset, CATALOG_BLOCK_BYTES));
    if (block.slice(0, 16).toString('hex') !== IDENTIFIER || block.u32(20) !== RECORD_TYPE_CATALOG) {
      throw new Inconsistent('NTFS: its catalogue of shadow copies does not hold');
    }
    for (let at = CATALOG_HEADER_BYTES; at < CATALOG_BLOCK_BYTES; at += CATALOG_ENTRY_BYTES) {
      if (block.u64(at) > ENTRY_EMPTY_MAX) throw new Inconsistent('NTFS: it has shadow copies');
    }
    offset = block.u64(40);
  }
}
