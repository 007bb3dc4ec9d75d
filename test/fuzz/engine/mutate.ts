/** Changes of inputs: of bytes and numbers inside a record, and of the order and number of records. */
import type { Random } from './random.ts';
import type { FuzzTarget } from './target.ts';

const CHANGES_MAX = 6;
const COPY_MAX_BYTES = 256;

function setNumber(record: Buffer, random: Random): void {
  const width = random.pick([1, 2, 4, 8]);
  if (record.length < width) return;
  // Fields of the protocols lie at even places mostly.
  const raw = random.below(record.length - width + 1);
  const at = random.once(3) ? raw : raw - (raw % Math.min(width, 4));
  const value = random.interesting();
  const little = random.once(3);
  const view = new DataView(record.buffer, record.byteOffset, record.length);
  if (width === 1) view.setUint8(at, value);
  else if (width === 2) view.setUint16(at, value, little);
  else if (width === 4) view.setUint32(at, value, little);
  else view.setBigUint64(at, random.once(4) ? 2n ** 64n - 1n - BigInt(value) : BigInt(value), little);
}

/** Adds a small number to a field: off by one is what checks get wrong. */
function addNumber(record: Buffer, random: Random): void {
  const width = random.pick([1, 2, 4]);
  if (record.length < width) return;
  const raw = random.below(record.length - width + 1);
  const at = random.once(3) ? raw : raw - (raw % width);
  const delta = (random.below(16) + 1) * random.pick([1, -1, 8, -8, 512, -512, 4096, -4096]);
  const view = new DataView(record.buffer, record.byteOffset, record.length);
  const little = random.once(3);
  if (width === 1) view.setUint8(at, view.getUint8(at) + delta);
  else if (width === 2) view.setUint16(at, view.getUint16(at, little) + delta, little);
  else view.setUint32(at, view.getUint32(at, little) + delta, little);
}

function mutateBytes(original: Buffer, random: Random): Buffer {
  const record = Buffer.from(original);
  if (record.length === 0) return random.bytes(1 + random.below(16));
  const at = random.below(record.length);
  switch (random.below(8)) {
    case 0:
      record[at] = (record[at] ?? 0) ^ (1 << random.below(8));
      return record;
    case 1:
      record[at] = random.below(256);
      return record;
    case 2:
    case 3:
      setNumber(record, random);
      return record;
    case 4:
      addNumber(record, random);
      return record;
    case 5:
      return record.subarray(0, at);
    case 6: {
      const inserted = random.once(2) ? random.bytes(1 + random.below(8)) : Buffer.alloc(1 + random.below(64));
      return Buffer.concat([record.subarray(0, at), inserted, record.subarray(at)]);
    }
    default: {
      const from = random.below(record.length);
      const length = 1 + random.below(Math.min(COPY_MAX_BYTES, record.length - from));
      record.set(record.subarray(from, from + length).subarray(0, record.length - at), at);
      return record;
    }
  }
}

function change(records: Buffer[], random: Random, other: readonly Buffer[], target: FuzzTarget): void {
  const at = random.below(records.length);
  const record = records[at];
  if (!record) {
    records.push(target.first(random));
    return;
  }
  switch (random.below(16)) {
    case 0:
      records.splice(1 + at, 0, Buffer.from(record));
      return;
    case 1:
      if (at > 0) records.splice(at, 1 + random.below(2));
      return;
    case 2: {
      const with_ = random.below(records.length);
      const second = records[with_];
      if (at > 0 && with_ > 0 && second) [records[at], records[with_]] = [second, record];
      return;
    }
    case 3:
    case 4:
    case 5:
      records.splice(1 + random.below(records.length), 0, target.message(random));
      return;
    case 6:
      records[at] = at === 0 ? target.first(random) : target.message(random);
      return;
    case 7: {
      // The head of this input, the tail of another.
      const cut = 1 + random.below(other.length);
      records.splice(1 + at, records.length, ...other.slice(cut).map((one) => Buffer.from(one)));
      return;
    }
    case 8:
      records.push(target.message(random));
      return;
    case 9: {
      // Two messages in one packet, or one in two.
      const next = records[at + 1];
      if (random.once(2) && next && at > 0) records.splice(at, 2, Buffer.concat([record, next]));
      else if (at > 0) {
        const cut = random.below(record.length);
        records.splice(at, 1, record.subarray(0, cut), record.subarray(cut));
      }
      return;
    }
    default:
      records[at] = mutateBytes(record, random);
  }
}

/** A changed copy of `records`. `other` is another input to take parts of. */
export function mutate(
  records: readonly Buffer[],
  random: Random,
  other: readonly Buffer[],
  target: FuzzTarget,
): Buffer[] {
  const changed = [...records];
  for (let count = 1 + random.below(CHANGES_MAX); count > 0; count--) change(changed, random, other, target);
  return changed;
}
