/** The server's half of NBD on the wire: what it reads and writes, as bytes. No state, no I/O. Big-endian throughout. */
import {
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_EXPORT,
  NBD_INIT_MAGIC,
  NBD_MAX_STRING,
  NBD_OPTION_MAGIC,
  NBD_OPTION_REPLY_MAGIC,
  NBD_REQUEST_MAGIC,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC,
} from '../../appliance/api/nbd.ts';

export const GREETING_BYTES = 18;
export const CLIENT_FLAGS_BYTES = 4;
export const OPTION_HEADER_BYTES = 16;
export const REQUEST_BYTES = 28;
export const SIMPLE_REPLY_BYTES = 16;
export const CHUNK_HEADER_BYTES = 20;

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** NBDMAGIC, IHAVEOPT, handshake flags. */
export function greeting(): Buffer {
  const bytes = Buffer.alloc(GREETING_BYTES);
  bytes.writeBigUInt64BE(NBD_INIT_MAGIC, 0);
  bytes.writeBigUInt64BE(NBD_OPTION_MAGIC, 8);
  bytes.writeUInt16BE(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES, 16);
  return bytes;
}

/** Option and length of an option's header; undefined when its magic is wrong. */
export function readOptionHeader(view: DataView): { option: number; length: number } | undefined {
  if (view.getBigUint64(0) !== NBD_OPTION_MAGIC) return undefined;
  return { option: view.getUint32(8), length: view.getUint32(12) };
}

export function optionReply(option: number, type: number, payload: Uint8Array = new Uint8Array(0)): Buffer {
  const bytes = Buffer.alloc(20 + payload.length);
  bytes.writeBigUInt64BE(NBD_OPTION_REPLY_MAGIC, 0);
  bytes.writeUInt32BE(option, 8);
  bytes.writeUInt32BE(type, 12);
  bytes.writeUInt32BE(payload.length, 16);
  bytes.set(payload, 20);
  return bytes;
}

export function infoExport(sizeBytes: number, flags: number): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt16BE(NBD_INFO_EXPORT, 0);
  bytes.writeBigUInt64BE(BigInt(sizeBytes), 2);
  bytes.writeUInt16BE(flags, 10);
  return bytes;
}

export function infoBlockSize(minimum: number, preferred: number, maximum: number): Buffer {
  const bytes = Buffer.alloc(14);
  bytes.writeUInt16BE(NBD_INFO_BLOCK_SIZE, 0);
  bytes.writeUInt32BE(minimum, 2);
  bytes.writeUInt32BE(preferred, 6);
  bytes.writeUInt32BE(maximum, 10);
  return bytes;
}

/** Payload of NBD_REP_SERVER: one export's name. */
export function serverEntry(name: string): Buffer {
  const text = Buffer.from(name, 'utf8');
  const bytes = Buffer.alloc(4 + text.length);
  bytes.writeUInt32BE(text.length, 0);
  bytes.set(text, 4);
  return bytes;
}

/** Payload of NBD_REP_META_CONTEXT. */
export function metaContext(id: number, name: string): Buffer {
  const text = Buffer.from(name, 'utf8');
  const bytes = Buffer.alloc(4 + text.length);
  bytes.writeUInt32BE(id, 0);
  bytes.set(text, 4);
  return bytes;
}

/** The old answer to NBD_OPT_EXPORT_NAME. */
export function exportNameReply(sizeBytes: number, flags: number, noZeroes: boolean): Buffer {
  const bytes = Buffer.alloc(noZeroes ? 10 : 134);
  bytes.writeBigUInt64BE(BigInt(sizeBytes), 0);
  bytes.writeUInt16BE(flags, 8);
  return bytes;
}

/** A string with its length before it; undefined when it does not fit, is too long or no UTF-8. */
function readString(data: Buffer, at: number): { text: string; end: number } | undefined {
  if (at + 4 > data.length) return undefined;
  const length = data.readUInt32BE(at);
  if (length > NBD_MAX_STRING || at + 4 + length > data.length) return undefined;
  return { text: decode(data.subarray(at + 4, at + 4 + length)) ?? '\0', end: at + 4 + length };
}

/** UTF-8, or undefined. No export has such a name, so that it is answered like an unknown one. */
export function decode(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined;
  }
}

/** Payload of NBD_OPT_INFO and NBD_OPT_GO; undefined when malformed. */
export function parseInfo(data: Buffer): { name: string; infos: number[] } | undefined {
  const name = readString(data, 0);
  if (!name || name.end + 2 > data.length) return undefined;
  const count = data.readUInt16BE(name.end);
  if (data.length !== name.end + 2 + 2 * count) return undefined;
  const infos = Array.from({ length: count }, (_, i) => data.readUInt16BE(name.end + 2 + 2 * i));
  return { name: name.text, infos };
}

/** Payload of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT; undefined when malformed. */
export function parseMetaQuery(data: Buffer): { name: string; queries: string[] } | undefined {
  const name = readString(data, 0);
  if (!name || name.end + 4 > data.length) return undefined;
  const count = data.readUInt32BE(name.end);
  const queries: string[] = [];
  let at = name.end + 4;
  for (let i = 0; i < count; i++) {
    const query = readString(data, at);
    if (!query) return undefined;
    queries.push(query.text);
    at = query.end;
  }
  return at === data.length ? { name: name.text, queries } : undefined;
}

export interface RequestHeader {
  flags: number;
  type: number;
  cookie: bigint;
  offset: bigint;
  length: number;
}

/** A request's header; undefined when its magic is wrong. */
export function readRequest(view: DataView): RequestHeader | undefined {
  if (view.getUint32(0) !== NBD_REQUEST_MAGIC) return undefined;
  return {
    flags: view.getUint16(4),
    type: view.getUint16(6),
    cookie: view.getBigUint64(8),
    offset: view.getBigUint64(16),
    length: view.getUint32(24),
  };
}

export function simpleReply(view: DataView, at: number, cookie: bigint, errno: number): number {
  view.setUint32(at, NBD_SIMPLE_REPLY_MAGIC);
  view.setUint32(at + 4, errno);
  view.setBigUint64(at + 8, cookie);
  return SIMPLE_REPLY_BYTES;
}

/** A structured reply chunk's header for a payload of `length` bytes. */
export function chunkHeader(
  view: DataView,
  at: number,
  cookie: bigint,
  flags: number,
  type: number,
  length: number,
): number {
  view.setUint32(at, NBD_STRUCTURED_REPLY_MAGIC);
  view.setUint16(at + 4, flags);
  view.setUint16(at + 6, type);
  view.setBigUint64(at + 8, cookie);
  view.setUint32(at + 16, length);
  return CHUNK_HEADER_BYTES;
}
