import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addBootEntry, guidBytes } from '../../lab/source-disk/nvram.ts';

const STORE_AT = 0x48;
const VARIABLES_AT = STORE_AT + 28;
const ENTRY = {
  description: 'debian',
  partitionNumber: 1,
  startSector: 2048,
  sectors: 262144,
  partitionGuid: '436f1eb0-644a-0944-8635-15ea209d974a',
  loader: '\\EFI\\debian\\grubx64.efi',
};

/** The head of a blank store as OVMF's build makes it: volume header, store header, erased flash. */
function blank(): Buffer {
  const vars = Buffer.alloc(4096, 0xff);
  vars.fill(0, 0, VARIABLES_AT);
  vars.write('_FVH', 40, 'latin1');
  vars.writeUInt16LE(STORE_AT, 48);
  Buffer.from('782cf3aa7b949a43a1802e144ec37792', 'hex').copy(vars, STORE_AT);
  return vars;
}

void test('nvram: a GUID is stored with its first three fields little-endian', () => {
  // EFI_GLOBAL_VARIABLE, byte for byte as efivarfs and the UEFI specification's C structure have it.
  assert.equal(guidBytes('8be4df61-93ca-11d2-aa0d-00e098032b8c').toString('hex'), '61dfe48bca93d211aa0d00e098032b8c');
});

void test('nvram: the load option is byte for byte that of the specification', () => {
  const vars = addBootEntry(blank(), ENTRY);
  const data = VARIABLES_AT + 60 + 'Boot0000\0'.length * 2;
  const path = Buffer.from('\\EFI\\debian\\grubx64.efi\0', 'utf16le').toString('hex');
  const expected = [
    // Active; 98 bytes of device path; the description.
    '01000000',
    '6200',
    Buffer.from('debian\0', 'utf16le').toString('hex'),
    // Media, hard drive, 42 bytes: partition 1, start, size, GUID, GPT, signature GUID.
    '04012a00',
    '01000000',
    '0008000000000000',
    '0000040000000000',
    'b01e6f434a644409863515ea209d974a',
    '0202',
    // Media, file path; end of the path.
    '04043400',
    path,
    '7fff0400',
  ].join('');
  assert.equal(vars.toString('hex', data, data + expected.length / 2), expected);
});

void test('nvram: the boot order names the entry and the rest of the flash stays erased', () => {
  const vars = addBootEntry(blank(), ENTRY);
  const name = vars.indexOf(Buffer.from('BootOrder\0', 'utf16le'));
  assert.ok(name > VARIABLES_AT);
  assert.equal(vars.readUInt16LE(name + 20), 0);
  assert.equal((name - 60) % 4, VARIABLES_AT % 4);
  assert.equal(vars.readUInt16LE(name - 60), 0x55aa);
  assert.ok(vars.subarray(name + 24).every((byte) => byte === 0xff));
});

void test('nvram: a store that is used, or none at all, is refused', () => {
  const used = addBootEntry(blank(), ENTRY);
  assert.throws(() => addBootEntry(used, ENTRY), /not blank/);
  assert.throws(() => addBootEntry(Buffer.alloc(4096), ENTRY), /no firmware volume/);
  const other = blank();
  other.fill(1, STORE_AT, STORE_AT + 16);
  assert.throws(() => addBootEntry(other, ENTRY), /no authenticated variable store/);
});
