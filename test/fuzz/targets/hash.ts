/** XXH3-128 of bytes in the JS heap. */

import { Memory } from '../../../native/memory.ts';
import { xxh3At } from '../../../native/xxhash.ts';
import { poke } from '../engine/copy.ts';

const room = new Memory(8 * 1024 * 1024);

/** 16 bytes, canonical. `bytes` are at most 8 MiB. */
export function hashOf(bytes: Uint8Array): Buffer {
  const result = Buffer.alloc(16);
  poke(room.address, bytes);
  xxh3At(room.address, bytes.length, new DataView(result.buffer, result.byteOffset, 16), 0);
  return result;
}
