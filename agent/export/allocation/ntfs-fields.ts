/** Little-endian numbers out of a structure of NTFS; what lies behind its end is Inconsistent, never an error of the language. */
import { Inconsistent } from './source.ts';

export class Fields {
  readonly bytes: Buffer;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  u8(at: number): number {
    return this.bytes.readUInt8(this.#check(at, 1));
  }

  u16(at: number): number {
    return this.bytes.readUInt16LE(this.#check(at, 2));
  }

  u32(at: number): number {
    return this.bytes.readUInt32LE(this.#check(at, 4));
  }

  /** Inconsistent when it is no safe integer. */
  u64(at: number): number {
    const value = this.u32(at) + this.u32(at + 4) * 2 ** 32;
    if (!Number.isSafeInteger(value)) throw new Inconsistent(`NTFS: ${value} is not plausible`);
    return value;
  }

  slice(from: number, to: number): Buffer {
    if (to < from) throw new Inconsistent('NTFS: a part of a structure ends before its start');
    this.#check(from, to - from);
    return this.bytes.subarray(from, to);
  }

  latin1(at: number, length: number): string {
    return this.slice(at, at + length).toString('latin1');
  }

  #check(at: number, length: number): number {
    if (!Number.isSafeInteger(at) || at < 0 || at + length > this.bytes.length) {
      throw new Inconsistent('NTFS: a structure ends too early');
    }
    return at;
  }
}

/**
 * Undoes the protection of a record of several sectors: the last two bytes of each hold the update sequence number, and their
 * own value stands in the array behind it. Inconsistent when a sector has another number: its write was not finished.
 */
export function undoFixups(raw: Buffer, magic: string): Fields {
  const record = new Fields(raw);
  if (record.latin1(0, 4) !== magic) throw new Inconsistent(`NTFS: a record is not of the kind ${magic}`);
  const array = record.u16(4);
  // One number and one value for each sector of 512 bytes, whatever the disk's sectors have.
  const sectors = record.u16(6) - 1;
  if (array % 2 !== 0 || sectors * 512 !== raw.length || array + 2 * (sectors + 1) > 510) {
    throw new Inconsistent('NTFS: a record has another update sequence than its size needs');
  }
  const number = record.u16(array);
  for (let sector = 0; sector < sectors; sector++) {
    const last = sector * 512 + 510;
    if (record.u16(last) !== number) throw new Inconsistent('NTFS: a record was not written completely');
    raw.writeUInt16LE(record.u16(array + 2 * (sector + 1)), last);
  }
  return record;
}
