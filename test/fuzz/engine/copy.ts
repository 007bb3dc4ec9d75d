/** Copies between the JS heap and native memory, by address. */
import koffi, { type KoffiFunc } from 'koffi';
import { type Address, mustBeLive } from './guarded-memory.ts';

const process_ = koffi.load(null);
// koffi pins the typed array for the call.
const into = process_.func('uintptr_t memcpy(uintptr_t to, const void *from, size_t bytes)') as KoffiFunc<
  (to: Address, from: Uint8Array, bytes: number) => number
>;
const outOf = koffi.load(null).func('uintptr_t memcpy(_Out_ void *to, uintptr_t from, size_t bytes)') as KoffiFunc<
  (to: Uint8Array, from: Address, bytes: number) => number
>;

/** Writes all of `bytes` to `address`. Violation when that is not memory in use. */
export function poke(address: Address, bytes: Uint8Array): void {
  mustBeLive(address, bytes.length);
  if (bytes.length > 0) into(address, bytes, bytes.length);
}

/** Reads `length` bytes at `address`. Violation when that is not memory in use. */
export function peek(address: Address, length: number): Buffer {
  mustBeLive(address, length);
  const bytes = Buffer.alloc(length);
  if (length > 0) outOf(bytes, address, length);
  return bytes;
}
