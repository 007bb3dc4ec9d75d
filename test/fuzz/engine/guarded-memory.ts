/**
 * Takes the place of native/memory.ts under the fuzzer (see hooks.ts): every mapping has a page before and behind it that
 * nobody may touch, so that a read or write by address that leaves it ends the process; and it is known which are in use, so
 * that streams can check addresses before they use them, and leaks show.
 */
import koffi, { type KoffiFunc } from 'koffi';
import { type Address, Memory as RealMemory } from '../../../native/memory.ts';
import { must } from './violation.ts';

export type { Address };

const PAGE = 4096;
const PROT_NONE = 0;
const PROT_READ_WRITE = 1 | 2;
const process_ = koffi.load(null);
const mprotect = process_.func('int mprotect(uintptr_t address, size_t bytes, int protection)') as KoffiFunc<
  (address: Address, bytes: number, protection: number) => number
>;

const live = new Map<Address, Memory>();

/** As native/memory.ts's, between two pages without any access. */
export class Memory {
  readonly address: Address;
  readonly length: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly words: Int32Array;
  readonly #whole: RealMemory;

  constructor(length: number) {
    this.length = Math.ceil(Math.max(1, length) / PAGE) * PAGE;
    this.#whole = new RealMemory(this.length + 2 * PAGE);
    this.address = this.#whole.address + PAGE;
    const buffer = this.#whole.view.buffer;
    this.bytes = new Uint8Array(buffer, PAGE, this.length);
    this.view = new DataView(buffer, PAGE, this.length);
    this.words = new Int32Array(buffer, PAGE, this.length / 4);
    must(mprotect(this.#whole.address, PAGE, PROT_NONE) === 0, 'mprotect');
    must(mprotect(this.address + this.length, PAGE, PROT_NONE) === 0, 'mprotect');
    live.set(this.address, this);
  }

  free(): void {
    if (!live.delete(this.address)) return;
    mprotect(this.#whole.address, this.length + 2 * PAGE, PROT_READ_WRITE);
    this.#whole.free();
  }
}

/** Violation unless [address, address + bytes) lies within one mapping in use. */
export function mustBeLive(address: Address, bytes: number): void {
  must(Number.isSafeInteger(bytes) && bytes >= 0, `a call for ${bytes} bytes`);
  for (const memory of live.values()) {
    if (address >= memory.address && address + bytes <= memory.address + memory.length) return;
  }
  must(false, `${bytes} bytes at an address that is in no mapping, or beyond its end`);
}

/** Bytes in use. */
export function liveBytes(): number {
  let sum = 0;
  for (const { length } of live.values()) sum += length;
  return sum;
}
