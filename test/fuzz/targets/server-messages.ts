/** Messages of NBD servers: option replies, and replies to requests. */
import { zstdCompressSync } from 'node:zlib';
import {
  NBD_CONTEXT_BASE_ALLOCATION,
  NBD_OPT_GO,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_OPTION_REPLY_MAGIC,
  NBD_REP_ACK,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_ERROR_OFFSET,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC,
  REHOST_OPT_HASHES,
  REHOST_OPT_ZSTD,
  REHOST_REPLY_TYPE_HASH,
  REHOST_REPLY_TYPE_ZSTD,
} from '../../../appliance/api/nbd.ts';
import type { Random } from '../engine/random.ts';
import { u16, u32, u64 } from './bytes.ts';

export const CONTEXT_ID = 5;

export function optionReply(option: number, type: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  return Buffer.concat([u64(NBD_OPTION_REPLY_MAGIC), u32(option), u32(type), u32(payload.length), payload]);
}

export function exportInfo(sizeBytes: number): Buffer {
  return optionReply(NBD_OPT_GO, NBD_REP_INFO, Buffer.concat([u16(0), u64(sizeBytes), u16(3)]));
}

export function blockSizes(minimum: number, maximum: number): Buffer {
  const payload = Buffer.concat([u16(3), u32(minimum), u32(4096), u32(maximum)]);
  return optionReply(NBD_OPT_GO, NBD_REP_INFO, payload);
}

export const CONTEXT = optionReply(
  NBD_OPT_SET_META_CONTEXT,
  NBD_REP_META_CONTEXT,
  Buffer.concat([u32(CONTEXT_ID), Buffer.from(NBD_CONTEXT_BASE_ALLOCATION)]),
);

export function anyOptionReply(random: Random): Buffer {
  const number = random.pick([
    NBD_OPT_STRUCTURED_REPLY,
    REHOST_OPT_HASHES,
    REHOST_OPT_ZSTD,
    NBD_OPT_SET_META_CONTEXT,
    NBD_OPT_GO,
    REHOST_OPT_HASHES + 1 + random.below(4),
  ]);
  switch (random.below(7)) {
    case 0:
      return exportInfo(random.once(2) ? 65536 : random.interesting());
    case 1:
      return blockSizes(random.pick([1, 512, 4096, random.interesting()]), 2 ** 25);
    case 2:
      return CONTEXT;
    case 3:
      return optionReply(number, random.pick([NBD_REP_ERR_UNSUP, NBD_REP_ERR_UNKNOWN]), Buffer.from('no'));
    case 4:
      return optionReply(number, NBD_REP_SERVER, random.bytes(random.below(20)));
    default:
      return optionReply(number, NBD_REP_ACK);
  }
}

export function simpleReply(cookie: number | bigint, errno: number, data: Uint8Array = Buffer.alloc(0)): Buffer {
  return Buffer.concat([u32(NBD_SIMPLE_REPLY_MAGIC), u32(errno), u64(cookie), data]);
}

export function chunk(cookie: number | bigint, type: number, last: boolean, ...payload: Uint8Array[]): Buffer {
  const data = Buffer.concat(payload);
  return Buffer.concat([
    u32(NBD_STRUCTURED_REPLY_MAGIC),
    u16(last ? 1 : 0),
    u16(type),
    u64(cookie),
    u32(data.length),
    data,
  ]);
}

export function dataChunk(cookie: number | bigint, offset: number, data: Uint8Array, last = false): Buffer {
  return chunk(cookie, NBD_REPLY_TYPE_OFFSET_DATA, last, u64(offset), data);
}

export function holeChunk(cookie: number | bigint, offset: number, length: number, last = false): Buffer {
  return chunk(cookie, NBD_REPLY_TYPE_OFFSET_HOLE, last, u64(offset), u32(length));
}

/** `content` as a frame. */
export function zstdChunk(cookie: number | bigint, offset: number, content: Uint8Array, last = false): Buffer {
  const frame = zstdCompressSync(content);
  return chunk(cookie, REHOST_REPLY_TYPE_ZSTD, last, u64(offset), u32(content.length), frame);
}

export function hashChunk(
  cookie: number | bigint,
  offset: number,
  length: number,
  hash: Uint8Array,
  last = true,
): Buffer {
  return chunk(cookie, REHOST_REPLY_TYPE_HASH, last, u64(offset), u32(length), hash);
}

export function statusChunk(
  cookie: number | bigint,
  descriptors: readonly [number, number][],
  context = CONTEXT_ID,
): Buffer {
  const list = descriptors.map(([length, flags]) => Buffer.concat([u32(length), u32(flags)]));
  return chunk(cookie, NBD_REPLY_TYPE_BLOCK_STATUS, true, u32(context), ...list);
}

export function errorChunk(cookie: number | bigint, errno: number, message: string, offset?: number): Buffer {
  const words = Buffer.from(message);
  const head = [u32(errno), u16(words.length), words];
  if (offset === undefined) return chunk(cookie, NBD_REPLY_TYPE_ERROR, true, ...head);
  return chunk(cookie, NBD_REPLY_TYPE_ERROR_OFFSET, true, ...head, u64(offset));
}

export function endChunk(cookie: number | bigint): Buffer {
  return chunk(cookie, NBD_REPLY_TYPE_NONE, true);
}

/** A reply, or a part of one, to a request of [offset, offset + length). */
export function anyReply(random: Random, cookie: number, offset: number, length: number): Buffer {
  const start = random.once(2) ? 0 : random.below(length);
  const part = random.once(2) ? length - start : 1 + random.below(Math.max(1, length - start));
  const last = random.once(2);
  switch (random.below(10)) {
    case 0:
      return simpleReply(cookie, random.once(3) ? 5 : 0, random.bytes(length));
    case 1:
    case 2:
      return dataChunk(cookie, offset + start, random.bytes(part), last);
    case 3:
      return holeChunk(cookie, offset + start, part, last);
    case 4:
      return hashChunk(cookie, offset, length, random.bytes(16), last);
    case 5:
      return errorChunk(cookie, 5, 'bad', random.once(2) ? offset : undefined);
    case 6:
      return statusChunk(cookie, [
        [4096, random.below(4)],
        [random.once(3) ? 2 ** 31 : length, random.below(4)],
      ]);
    case 7:
      return endChunk(cookie);
    case 8:
      return zstdChunk(cookie, offset + start, Buffer.alloc(part, random.below(4)), last);
    default:
      return Buffer.concat([
        dataChunk(cookie, offset, random.bytes(length)),
        hashChunk(cookie, offset, length, random.bytes(16)),
      ]);
  }
}
