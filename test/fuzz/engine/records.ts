/**
 * An input is a list of records: messages, or orders to a model of the other side. In a file each has its length before it
 * (u16, little-endian). Every file is an input: what does not hold together is read as far as it goes.
 */

const RECORDS_MAX = 160;
const RECORD_MAX_BYTES = 0xffff;
/** Inputs larger than this find nothing that smaller ones do not, bytes. */
export const INPUT_MAX_BYTES = 96 * 1024;

export function decode(input: Uint8Array): Buffer[] {
  const bytes = Buffer.from(input.buffer, input.byteOffset, Math.min(input.byteLength, INPUT_MAX_BYTES));
  const records: Buffer[] = [];
  for (let at = 0; at + 2 <= bytes.length && records.length < RECORDS_MAX; ) {
    const length = bytes.readUInt16LE(at);
    records.push(bytes.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return records;
}

export function encode(records: readonly Uint8Array[]): Buffer {
  const parts: Uint8Array[] = [];
  for (const record of records.slice(0, RECORDS_MAX)) {
    const cut = record.subarray(0, RECORD_MAX_BYTES);
    const head = Buffer.alloc(2);
    head.writeUInt16LE(cut.length);
    parts.push(head, cut);
  }
  return Buffer.concat(parts).subarray(0, INPUT_MAX_BYTES);
}
