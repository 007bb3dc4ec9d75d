/** Messages of NBD clients: options and requests. */
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_DISC,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_CONTEXT_BASE_ALLOCATION,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STARTTLS,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REQUEST_MAGIC,
  REHOST_CMD_HASH,
  REHOST_OPT_HASHES,
  REHOST_OPT_ZSTD,
} from '../../../appliance/api/nbd.ts';
import type { Random } from '../engine/random.ts';
import { text, u16, u32, u64 } from './bytes.ts';

export const FLAGS = u32(3);

export function option(number: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  return Buffer.concat([Buffer.from('IHAVEOPT', 'latin1'), u32(number), u32(payload.length), payload]);
}

export function go(name: string, ...infos: number[]): Buffer {
  return Buffer.concat([text(name), u16(infos.length), ...infos.map(u16)]);
}

export function meta(name: string, ...queries: string[]): Buffer {
  return Buffer.concat([text(name), u32(queries.length), ...queries.map(text)]);
}

export const STARTTLS = option(NBD_OPT_STARTTLS);
export const STRUCTURED = option(NBD_OPT_STRUCTURED_REPLY);
export const HASHES = option(REHOST_OPT_HASHES);
export const COMPRESSION = option(REHOST_OPT_ZSTD);

export function request(type: number, cookie: number, offset: number, length: number, flags = 0): Buffer {
  return Buffer.concat([u32(NBD_REQUEST_MAGIC), u16(flags), u16(type), u64(cookie), u64(offset), u32(length)]);
}

export const BYE = request(NBD_CMD_DISC, 0, 0, 0);

export function anyOption(random: Random): Buffer {
  const name = random.pick(['sda', 'vdb', 'nope', '']);
  switch (random.below(13)) {
    case 11:
      return COMPRESSION;
    case 0:
      return STARTTLS;
    case 1:
      return STRUCTURED;
    case 2:
      return HASHES;
    case 3:
      return option(NBD_OPT_LIST);
    case 4:
      return option(NBD_OPT_ABORT);
    case 5:
      return option(NBD_OPT_EXPORT_NAME, Buffer.from(name));
    case 6:
      return option(NBD_OPT_INFO, go(name, 0, 3));
    case 7:
      return option(NBD_OPT_GO, go(name, 3));
    case 8:
      return option(NBD_OPT_LIST_META_CONTEXT, meta(name, ...random.pick([['base:'], [], ['qemu:x']])));
    case 9:
      return option(NBD_OPT_SET_META_CONTEXT, meta(name, NBD_CONTEXT_BASE_ALLOCATION));
    case 10:
      return option(REHOST_OPT_HASHES + random.below(6), random.bytes(random.below(12)));
    default:
      return option(random.below(16), random.bytes(random.below(24)));
  }
}

/** Ranges in an export of `sizeBytes`, across its end now and then. */
export function anyRequest(random: Random, sizeBytes: number): Buffer {
  const type = random.pick([
    NBD_CMD_READ,
    NBD_CMD_READ,
    NBD_CMD_READ,
    NBD_CMD_BLOCK_STATUS,
    NBD_CMD_BLOCK_STATUS,
    NBD_CMD_WRITE,
    NBD_CMD_TRIM,
    NBD_CMD_WRITE_ZEROES,
    NBD_CMD_DISC,
    REHOST_CMD_HASH,
    REHOST_CMD_HASH,
    3,
  ]);
  const offset = random.once(2) ? random.below(sizeBytes + 4096) : random.below(sizeBytes / 512 + 2) * 512;
  const toEnd = Math.max(0, sizeBytes - offset);
  const length = random.pick([toEnd, toEnd + 1, 512, 4096, random.below(sizeBytes), random.below(9000)]);
  const head = request(type, random.below(2 ** 32), offset, length, random.pick([0, 0, 0, 4, 8, 1]));
  return type === NBD_CMD_WRITE && length < 8192 ? Buffer.concat([head, Buffer.alloc(length)]) : head;
}
