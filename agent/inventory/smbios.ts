/** Memory modules from the firmware's SMBIOS table (DMTF DSP0134, the Memory Device structure). */

/** Memory Device. */
const TYPE_MEMORY_DEVICE = 17;
const TYPE_END = 127;
const HEADER_BYTES = 4;
/** Offset of `Size`, a word: MiB, or KiB when bit 15 is set; 0 is an empty socket, 0xFFFF unknown, 0x7FFF means `Extended Size`. */
const OFFSET_SIZE = 0x0c;
/** Offset of `Extended Size`, a double word: MiB in bits 0 to 30. Since SMBIOS 2.7. */
const OFFSET_EXTENDED_SIZE = 0x1c;
const KIB = 1024;
const MIB = 1024 * KIB;

/** Bytes of all memory modules in a raw table (/sys/firmware/dmi/tables/DMI); 0 where the table names none or breaks off. */
export function installedMemoryBytes(table: Buffer): number {
  let total = 0;
  let at = 0;
  while (at + HEADER_BYTES <= table.length) {
    const type = table.readUInt8(at);
    const length = table.readUInt8(at + 1);
    if (type === TYPE_END || length < HEADER_BYTES || at + length > table.length) break;
    if (type === TYPE_MEMORY_DEVICE) total += moduleBytes(table.subarray(at, at + length));
    // The strings of a structure follow it and end with two NUL bytes.
    const end = table.indexOf('\0\0', at + length, 'latin1');
    if (end < 0) break;
    at = end + 2;
  }
  return total;
}

function moduleBytes(structure: Buffer): number {
  if (structure.length < OFFSET_SIZE + 2) return 0;
  const size = structure.readUInt16LE(OFFSET_SIZE);
  if (size === 0 || size === 0xffff) return 0;
  if (size === 0x7fff) {
    if (structure.length < OFFSET_EXTENDED_SIZE + 4) return 0;
    return (structure.readUInt32LE(OFFSET_EXTENDED_SIZE) & 0x7fffffff) * MIB;
  }
  return size & 0x8000 ? (size & 0x7fff) * KIB : size * MIB;
}
