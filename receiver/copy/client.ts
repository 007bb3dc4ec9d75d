/** Negotiation with a server after the opening (encrypted, except in tests against local servers): what it can, and the export. */

import { RehostError } from '../../appliance/api/errors.ts';
import {
  NBD_CONTEXT_BASE_ALLOCATION,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_EXPORT,
  NBD_MAX_STRING,
  NBD_OPT_GO,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_FLAG_ERROR,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  REHOST_OPT_HASHES,
  REHOST_OPT_ZSTD,
} from '../../appliance/api/nbd.ts';
import { BLOCK_BYTES } from '../../appliance/api/transfer.ts';
import type { Memory } from '../../native/memory.ts';
import type { ByteStream } from '../../native/stream.ts';
import { ALIGN_BYTES } from './plan.ts';
import * as wire from './wire.ts';

/** Replies to one option that are read at most. */
const REPLIES_MAX = 64;
/** Payload of one option reply that is read at most: a string and some numbers, bytes. */
const PAYLOAD_MAX = NBD_MAX_STRING + 64;

/** What was agreed on. */
export interface Agreement {
  sizeBytes: number;
  structured: boolean;
  /** Id of base:allocation, or undefined when the server has none. */
  allocationId: number | undefined;
  /** Hashes come with the replies, whose chunks come in order. */
  hashes: boolean;
  compression: boolean;
}

interface OptionReply {
  type: number;
  data: Buffer;
}

function violation(message: string): RehostError {
  return new RehostError('PROTOCOL_VIOLATION', message);
}

/** Sends one option and returns its replies, the final one last. */
function ask(stream: ByteStream, memory: Memory, option: number, payload?: Uint8Array): OptionReply[] {
  const message = wire.option(option, payload);
  memory.bytes.set(message);
  stream.write(memory.address, message.length);
  stream.flush();
  const replies: OptionReply[] = [];
  while (replies.length < REPLIES_MAX) {
    stream.readExact(memory.address, wire.OPTION_REPLY_BYTES);
    const head = wire.readOptionReply(Buffer.from(memory.bytes.slice(0, wire.OPTION_REPLY_BYTES)), option);
    if (!head) throw violation(`The reply to option ${option} has the wrong magic or option.`);
    if (head.length > PAYLOAD_MAX)
      throw violation(`A reply to option ${option} has ${head.length} bytes; the limit is ${PAYLOAD_MAX}.`);
    if (head.length > 0) stream.readExact(memory.address, head.length);
    replies.push({ type: head.type, data: Buffer.from(memory.bytes.slice(0, head.length)) });
    if (head.type === NBD_REP_ACK || head.type >= NBD_REP_FLAG_ERROR) return replies;
  }
  throw violation(`More than ${REPLIES_MAX} replies to option ${option}.`);
}

function acknowledged(replies: readonly OptionReply[]): boolean {
  return replies.at(-1)?.type === NBD_REP_ACK;
}

/**
 * Agrees on everything that the server has and chooses the export. `memory` is the caller's scratch of at least 8 KiB.
 * PROTOCOL_VIOLATION when the server breaks the protocol, TRANSFER_FAILED when it does not have the export.
 */
export function agree(stream: ByteStream, memory: Memory, name: string): Agreement {
  const structured = acknowledged(ask(stream, memory, NBD_OPT_STRUCTURED_REPLY));
  const hashes = structured && acknowledged(ask(stream, memory, REHOST_OPT_HASHES));
  const compression = hashes && acknowledged(ask(stream, memory, REHOST_OPT_ZSTD));
  const allocationId = structured ? setAllocation(stream, memory, name) : undefined;
  const replies = ask(stream, memory, NBD_OPT_GO, wire.goPayload(name));
  const last = replies.at(-1);
  if (last?.type !== NBD_REP_ACK) {
    const text = last?.data.toString('utf8') ?? '';
    throw new RehostError('TRANSFER_FAILED', `The server refuses export '${name}': error ${last?.type} ${text}`.trim());
  }
  let sizeBytes: number | undefined;
  for (const { type, data } of replies) {
    if (type !== NBD_REP_INFO) continue;
    if (data.length < 2) throw violation('An information reply has no type.');
    const info = data.readUInt16BE(0);
    if (info === NBD_INFO_EXPORT) sizeBytes = exportSize(data);
    if (info === NBD_INFO_BLOCK_SIZE) checkBlockSizes(data);
  }
  if (sizeBytes === undefined) throw violation('The server accepted the export without its size.');
  return { sizeBytes, structured, allocationId, hashes, compression };
}

function setAllocation(stream: ByteStream, memory: Memory, name: string): number | undefined {
  const payload = wire.metaPayload(name, NBD_CONTEXT_BASE_ALLOCATION);
  const replies = ask(stream, memory, NBD_OPT_SET_META_CONTEXT, payload);
  if (!acknowledged(replies)) return undefined;
  for (const { type, data } of replies) {
    if (type !== NBD_REP_META_CONTEXT) continue;
    if (data.length < 4) throw violation('A context reply has no id.');
    if (data.toString('utf8', 4) === NBD_CONTEXT_BASE_ALLOCATION) return data.readUInt32BE(0);
  }
  return undefined;
}

function exportSize(data: Buffer): number {
  if (data.length !== 12) throw violation(`The export information has ${data.length} bytes, not 12.`);
  const size = data.readBigUInt64BE(2);
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw violation(`An export of ${size} bytes.`);
  return Number(size);
}

function checkBlockSizes(data: Buffer): void {
  if (data.length !== 14) throw violation(`The block sizes have ${data.length} bytes, not 14.`);
  const minimum = data.readUInt32BE(2);
  const maximum = data.readUInt32BE(10);
  if (minimum > ALIGN_BYTES || ALIGN_BYTES % Math.max(1, minimum) !== 0 || maximum < BLOCK_BYTES) {
    throw violation(`Requests of ${minimum} to ${maximum} bytes do not suit this copy.`);
  }
}
