/**
 * Writes a boot entry into a blank OVMF variable store, as an installer does through the firmware: layouts from EDK II's
 * MdeModulePkg/Include/Guid/VariableFormat.h (store and authenticated variables), MdePkg/Include/Pi/PiFirmwareVolume.h (volume header) and
 * the UEFI specification's load options (3.1.3) and device paths (10.3.5.1, 10.3.5.4).
 */

const VOLUME_SIGNATURE = '_FVH';
const VOLUME_SIGNATURE_OFFSET = 40;
const VOLUME_HEADER_LENGTH_OFFSET = 48;
const STORE_GUID = 'aaf32c78-947b-439a-a180-2e144ec37792';
const STORE_HEADER_BYTES = 28;
const GLOBAL_VARIABLE_GUID = '8be4df61-93ca-11d2-aa0d-00e098032b8c';
const VARIABLE_START = 0x55aa;
const VARIABLE_ADDED = 0x3f;
const VARIABLE_HEADER_BYTES = 60;
/** Non-volatile, visible to boot services and at run time. */
const VARIABLE_ATTRIBUTES = 7;
const LOAD_OPTION_ACTIVE = 1;

export interface BootEntry {
  description: string;
  /** GPT partition number, from 1. */
  partitionNumber: number;
  startSector: number;
  sectors: number;
  /** The partition's unique GUID. */
  partitionGuid: string;
  /** Path of the loader on the ESP, with backslashes. */
  loader: string;
}

/** A copy of the blank store `vars` with this entry as Boot0000 and the boot order that names it. Throws when the store is not a blank one. */
export function addBootEntry(vars: Buffer, entry: BootEntry): Buffer {
  const copy = Buffer.from(vars);
  const start = blankStart(copy);
  const order = Buffer.alloc(2);
  const variables = Buffer.concat([variable('Boot0000', loadOption(entry)), variable('BootOrder', order)]);
  variables.copy(copy, start);
  return copy;
}

function blankStart(vars: Buffer): number {
  const signature = vars.toString('latin1', VOLUME_SIGNATURE_OFFSET, VOLUME_SIGNATURE_OFFSET + VOLUME_SIGNATURE.length);
  if (signature !== VOLUME_SIGNATURE) throw new Error('This is no firmware volume: its signature is missing.');
  const store = vars.readUInt16LE(VOLUME_HEADER_LENGTH_OFFSET);
  if (!vars.subarray(store, store + 16).equals(guidBytes(STORE_GUID)))
    throw new Error('The firmware volume holds no authenticated variable store.');
  const start = store + STORE_HEADER_BYTES;
  // Erased flash reads as ones.
  if (vars.readUInt16LE(start) !== 0xffff) throw new Error('The variable store is not blank.');
  return start;
}

/** A GUID as EFI stores it: the first three fields little-endian. */
export function guidBytes(guid: string): Buffer {
  const raw = Buffer.from(guid.replaceAll('-', ''), 'hex');
  if (raw.length !== 16) throw new Error(`'${guid}' is no GUID.`);
  raw.subarray(0, 4).reverse();
  raw.subarray(4, 6).reverse();
  raw.subarray(6, 8).reverse();
  return raw;
}

function variable(name: string, data: Buffer): Buffer {
  const nameBytes = utf16(name);
  const header = Buffer.alloc(VARIABLE_HEADER_BYTES);
  header.writeUInt16LE(VARIABLE_START, 0);
  header.writeUInt8(VARIABLE_ADDED, 2);
  header.writeUInt32LE(VARIABLE_ATTRIBUTES, 4);
  header.writeUInt32LE(nameBytes.length, 36);
  header.writeUInt32LE(data.length, 40);
  guidBytes(GLOBAL_VARIABLE_GUID).copy(header, 44);
  const bytes = Buffer.concat([header, nameBytes, data]);
  // Variables begin on four-byte boundaries; the gap stays erased.
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4, 0xff)]);
}

function loadOption(entry: BootEntry): Buffer {
  const hardDrive = Buffer.alloc(42);
  hardDrive.writeUInt8(4, 0);
  hardDrive.writeUInt8(1, 1);
  hardDrive.writeUInt16LE(hardDrive.length, 2);
  hardDrive.writeUInt32LE(entry.partitionNumber, 4);
  hardDrive.writeBigUInt64LE(BigInt(entry.startSector), 8);
  hardDrive.writeBigUInt64LE(BigInt(entry.sectors), 16);
  guidBytes(entry.partitionGuid).copy(hardDrive, 24);
  // Format GPT, signature is a GUID.
  hardDrive.writeUInt8(2, 40);
  hardDrive.writeUInt8(2, 41);

  const path = utf16(entry.loader);
  const file = Buffer.alloc(4);
  file.writeUInt8(4, 0);
  file.writeUInt8(4, 1);
  file.writeUInt16LE(file.length + path.length, 2);

  const paths = Buffer.concat([hardDrive, file, path, Buffer.from([0x7f, 0xff, 4, 0])]);
  const head = Buffer.alloc(6);
  head.writeUInt32LE(LOAD_OPTION_ACTIVE, 0);
  head.writeUInt16LE(paths.length, 4);
  return Buffer.concat([head, utf16(entry.description), paths]);
}

function utf16(text: string): Buffer {
  return Buffer.from(`${text}\0`, 'utf16le');
}
