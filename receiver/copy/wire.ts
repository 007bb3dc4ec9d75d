/** The client's half of NBD on the wire: what it writes and reads, as bytes. No state, no I/O. Big-endian throughout. */
import {
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_INFO_BLOCK_SIZE,
  NBD_INIT_MAGIC,
  NBD_OPTION_MAGIC,
  NBD_OPTION_REPLY_MAGIC,
  NBD_REQUEST_MAGIC,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC,
} from '../../appliance/api/nbd.ts';

export const GREETING_BYTES = 18;
export const OPTION_REPLY_BYTES = 20;
export const REQUEST_BYTES = 28;
/** A simple reply, and the first part of a structured one. */
export const REPLY_BYTES = 16;

/** Handshake flags of a server's greeting; undefined when it is no fixed newstyle NBD server. */
export function readGreeting(bytes: Buffer): number | undefined {
  if (bytes.readBigUInt64BE(0) !== NBD_INIT_MAGIC || bytes.readBigUInt64BE(8) !== NBD_OPTION_MAGIC) return undefined;
  const flags = bytes.readUInt16BE(16);
  return flags & NBD_FLAG_FIXED_NEWSTYLE ? flags : undefined;
}

/** The client's answer to a greeting: what both know. */
export function clientFlags(handshake: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(handshake & (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES), 0);
  return bytes;
}

export function option(number: number, payload: Uint8Array = new Uint8Array(0)): Buffer {
  const bytes = Buffer.alloc(16 + payload.length);
  bytes.writeBigUInt64BE(NBD_OPTION_MAGIC, 0);
  bytes.writeUInt32BE(number, 8);
  bytes.writeUInt32BE(payload.length, 12);
  bytes.set(payload, 16);
  return bytes;
}

/** Type and payload length of an option's reply; undefined when the magic or the option it answers is wrong. */
export function readOptionReply(bytes: Buffer, expected: number): { type: number; length: number } | undefined {
  if (bytes.readBigUInt64BE(0) !== NBD_OPTION_REPLY_MAGIC || bytes.readUInt32BE(8) !== expected) return undefined;
  return { type: bytes.readUInt32BE(12), length: bytes.readUInt32BE(16) };
}

/** Payload of GO: the export's name, and that we want to know block sizes. */
export function goPayload(name: string): Buffer {
  const text = Buffer.from(name, 'utf8');
  const bytes = Buffer.alloc(4 + text.length + 4);
  bytes.writeUInt32BE(text.length, 0);
  bytes.set(text, 4);
  bytes.writeUInt16BE(1, 4 + text.length);
  bytes.writeUInt16BE(NBD_INFO_BLOCK_SIZE, 6 + text.length);
  return bytes;
}

/** Payload of SET_META_CONTEXT with one query. */
export function metaPayload(name: string, context: string): Buffer {
  const text = Buffer.from(name, 'utf8');
  const query = Buffer.from(context, 'utf8');
  const bytes = Buffer.alloc(12 + text.length + query.length);
  bytes.writeUInt32BE(text.length, 0);
  bytes.set(text, 4);
  bytes.writeUInt32BE(1, 4 + text.length);
  bytes.writeUInt32BE(query.length, 8 + text.length);
  bytes.set(query, 12 + text.length);
  return bytes;
}

/** Builds a request at `at`. The cookie is two halves of 32 bits. */
export function request(
  view: DataView,
  at: number,
  type: number,
  cookieHigh: number,
  cookieLow: number,
  offset: number,
  length: number,
): number {
  view.setUint32(at, NBD_REQUEST_MAGIC);
  view.setUint16(at + 4, 0);
  view.setUint16(at + 6, type);
  view.setUint32(at + 8, cookieHigh);
  view.setUint32(at + 12, cookieLow);
  view.setBigUint64(at + 16, BigInt(offset));
  view.setUint32(at + 24, length);
  return REQUEST_BYTES;
}

export type ReplyHead =
  | { kind: 'simple'; errno: number; cookieHigh: number; cookieLow: number }
  | { kind: 'chunk'; flags: number; type: number; cookieHigh: number; cookieLow: number };

/** The first REPLY_BYTES of a reply; a chunk's payload length (u32) follows. Undefined when the magic is neither. */
export function readReply(view: DataView): ReplyHead | undefined {
  const magic = view.getUint32(0);
  const cookieHigh = view.getUint32(8);
  const cookieLow = view.getUint32(12);
  if (magic === NBD_SIMPLE_REPLY_MAGIC) return { kind: 'simple', errno: view.getUint32(4), cookieHigh, cookieLow };
  if (magic !== NBD_STRUCTURED_REPLY_MAGIC) return undefined;
  return { kind: 'chunk', flags: view.getUint16(4), type: view.getUint16(6), cookieHigh, cookieLow };
}
