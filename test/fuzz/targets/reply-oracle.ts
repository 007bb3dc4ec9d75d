/**
 * Reads a server's replies independently of the client: which requests were answered in full, in which order, and with what.
 * It stops where the replies break the protocol: nothing behind that may count.
 */
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_READ,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_FLAG_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_REQUEST_MAGIC,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC,
  REHOST_CMD_HASH,
  REHOST_HASH_BYTES,
  REHOST_REPLY_TYPE_HASH,
  REHOST_REPLY_TYPE_ZSTD,
} from '../../../appliance/api/nbd.ts';
import { STEP_BYTES } from '../../../appliance/api/transfer.ts';
import { Memory } from '../../../native/memory.ts';
import { ZstdDecompressor } from '../../../native/zstd.ts';
import { peek, poke } from '../engine/copy.ts';
import { Cursor } from './bytes.ts';

const zstd = new ZstdDecompressor();
const packed = new Memory(STEP_BYTES);
const unpacked = new Memory(STEP_BYTES);
const KINDS: Readonly<Record<number, 'read' | 'status'>> = { [NBD_CMD_READ]: 'read', [NBD_CMD_BLOCK_STATUS]: 'status' };

/** A request as the client sent it. */
export interface Asked {
  kind: 'read' | 'status' | 'hash';
  cookie: bigint;
  offset: number;
  length: number;
}

export interface Agreed {
  structured: boolean;
  hashes: boolean;
  compression: boolean;
  allocationId: number | undefined;
}

/** A reply that is complete. */
export interface Answered {
  asked: Asked;
  /** It said that it could not. */
  failed: boolean;
  /** What the server says the range holds, in the order it said so: of a READ that did not fail. */
  parts: Part[] | undefined;
  /** Of a BLOCK_STATUS that did not fail. */
  descriptors: { length: number; flags: number }[];
}

/** `data` is undefined where there are zeros; `start` counts from the request's. */
export interface Part {
  start: number;
  length: number;
  data: Buffer | undefined;
}

interface Open {
  answered: Answered;
  parts: Part[];
  covered: number;
  hash: boolean;
  status: boolean;
}

/** What `bytes` answers of `asked`. */
export function readReplies(bytes: Buffer, asked: readonly Asked[], agreed: Agreed): Answered[] {
  const open = new Map<bigint, Open>();
  for (const one of asked) {
    const answered: Answered = { asked: one, failed: false, parts: undefined, descriptors: [] };
    open.set(one.cookie, { answered, parts: [], covered: 0, hash: false, status: false });
  }
  const done: Answered[] = [];
  const from = new Cursor(bytes);
  for (let head = from.take(16); head; head = from.take(16)) {
    const one = open.get(head.readBigUInt64BE(8));
    if (!one) break;
    const complete =
      head.readUInt32BE(0) === NBD_SIMPLE_REPLY_MAGIC
        ? simple(head, one, from, agreed)
        : chunk(head, one, from, agreed);
    if (complete === undefined) break;
    if (!complete) continue;
    open.delete(one.answered.asked.cookie);
    done.push(one.answered);
  }
  return done;
}

/** True when it was the last of its reply, undefined when the protocol is broken. */
function simple(head: Buffer, one: Open, from: Cursor, agreed: Agreed): true | undefined {
  if (head.readUInt32BE(4) !== 0) {
    one.answered.failed = true;
    return true;
  }
  if (agreed.structured || one.answered.asked.kind !== 'read') return undefined;
  const { length } = one.answered.asked;
  const data = from.take(length);
  if (!data) return undefined;
  one.answered.parts = [{ start: 0, length, data }];
  return true;
}

function chunk(head: Buffer, one: Open, from: Cursor, agreed: Agreed): boolean | undefined {
  if (head.readUInt32BE(0) !== NBD_STRUCTURED_REPLY_MAGIC || !agreed.structured) return undefined;
  const flags = head.readUInt16BE(4);
  const type = head.readUInt16BE(6);
  const payload = from.take(from.take(4)?.readUInt32BE(0) ?? Number.POSITIVE_INFINITY);
  if (!payload || flags > 1) return undefined;
  if (!content(type, payload, one, agreed)) return undefined;
  if (flags === 0) return type === NBD_REPLY_TYPE_NONE ? undefined : false;
  const { answered } = one;
  if (answered.failed) return true;
  if (answered.asked.kind === 'status') return one.status ? true : undefined;
  if (one.hash !== agreed.hashes) return undefined;
  if (answered.asked.kind === 'read' && one.covered !== answered.asked.length) return undefined;
  answered.parts = one.parts;
  return true;
}

/** Takes one chunk in; false when it breaks the protocol. */
function content(type: number, payload: Buffer, one: Open, agreed: Agreed): boolean {
  const { asked } = one.answered;
  if (type & NBD_REPLY_TYPE_FLAG_ERROR) {
    one.answered.failed = true;
    return payload.length >= 6 && payload.readUInt32BE(0) !== 0;
  }
  if (type === NBD_REPLY_TYPE_NONE) return payload.length === 0;
  if (asked.kind === 'status') {
    if (type !== NBD_REPLY_TYPE_BLOCK_STATUS || payload.length < 12 || payload.length % 8 !== 4 || one.status)
      return false;
    if (payload.readUInt32BE(0) !== agreed.allocationId) return false;
    one.status = true;
    for (let at = 4; at < payload.length; at += 8) {
      one.answered.descriptors.push({ length: payload.readUInt32BE(at), flags: payload.readUInt32BE(at + 4) });
    }
    return one.answered.descriptors.every(({ length }) => length > 0);
  }
  if (type === REHOST_REPLY_TYPE_HASH && agreed.hashes) {
    const right = payload.length === 12 + REHOST_HASH_BYTES && !one.hash;
    if (!right || payload.readBigUInt64BE(0) !== BigInt(asked.offset) || payload.readUInt32BE(8) !== asked.length)
      return false;
    one.hash = true;
    return true;
  }
  return asked.kind === 'read' && part(type, payload, one, agreed);
}

/** Content: as it is, zeros, or compressed. */
function part(type: number, payload: Buffer, one: Open, agreed: Agreed): boolean {
  const { asked } = one.answered;
  const data = type === NBD_REPLY_TYPE_OFFSET_DATA;
  const compressed = type === REHOST_REPLY_TYPE_ZSTD && agreed.compression;
  if (!data && !compressed && type !== NBD_REPLY_TYPE_OFFSET_HOLE) return false;
  if (data ? payload.length <= 8 : payload.length < 12) return false;
  const from = payload.readBigUInt64BE(0) - BigInt(asked.offset);
  const length = data ? payload.length - 8 : payload.readUInt32BE(8);
  if (length === 0 || from < 0n || from + BigInt(length) > BigInt(asked.length)) return false;
  const start = Number(from);
  if (one.parts.some((other) => start < other.start + other.length && other.start < start + length)) return false;
  let content: Buffer | undefined;
  if (data) content = payload.subarray(8);
  else if (compressed) {
    content = unpackFrame(payload.subarray(12), length);
    if (!content) return false;
  }
  one.parts.push({ start, length, data: content });
  one.covered += length;
  return true;
}

/** The content of a frame; undefined when it is damaged or not as long. */
function unpackFrame(frame: Buffer, length: number): Buffer | undefined {
  if (length > STEP_BYTES || frame.length > STEP_BYTES) return undefined;
  poke(packed.address, frame);
  const got = zstd.decompress(unpacked.address, length, packed.address, frame.length);
  return got === length ? peek(unpacked.address, length) : undefined;
}

/** The requests in what a client sent. */
export function readRequests(bytes: Buffer): Asked[] {
  const asked: Asked[] = [];
  const from = new Cursor(bytes);
  for (let head = from.take(28); head; head = from.take(28)) {
    const type = head.readUInt16BE(6);
    if (
      head.readUInt32BE(0) !== NBD_REQUEST_MAGIC ||
      (type !== NBD_CMD_READ && type !== NBD_CMD_BLOCK_STATUS && type !== REHOST_CMD_HASH)
    )
      break;
    asked.push({
      kind: KINDS[type] ?? 'hash',
      cookie: head.readBigUInt64BE(8),
      offset: Number(head.readBigUInt64BE(16)),
      length: head.readUInt32BE(24),
    });
  }
  return asked;
}
