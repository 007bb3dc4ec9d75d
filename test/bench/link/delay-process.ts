/**
 * A cable that takes time: carries packets between two interfaces, each of them `delayMs` after it came. In a process of its
 * own, which belongs to neither side. It ends when an interface is removed, or the bench
 * ends.
 */
import { Memory } from '../../../native/memory.ts';
import { awaitPackets, openTun, PACKET_MAX_BYTES, readPacket, writePacket } from './tun.ts';

export interface DelayOrder {
  /** Names of the interfaces to make. */
  names: readonly [string, string];
  delayMs: number;
}

/** Packets under way in one direction: what comes while as many are is lost. */
const PACKETS_MAX = 1024;
/** With nothing under way it looks this often whether the bench is still there, ms. */
const IDLE_MS = 500;

/** One direction: a ring of packets, the oldest first. */
class Direction {
  readonly #from: number;
  readonly #to: number;
  readonly #memory = new Memory(PACKETS_MAX * PACKET_MAX_BYTES);
  readonly #bytes = new Uint32Array(PACKETS_MAX);
  readonly #due = new Float64Array(PACKETS_MAX);
  #head = 0;
  #count = 0;

  constructor(from: number, to: number) {
    this.#from = from;
    this.#to = to;
  }

  /** Takes what came. False when the interface is gone. */
  take(delayMs: number): boolean {
    while (this.#count < PACKETS_MAX) {
      const slot = (this.#head + this.#count) % PACKETS_MAX;
      const bytes = readPacket(this.#from, this.#memory.address + slot * PACKET_MAX_BYTES);
      if (bytes === undefined) return false;
      if (bytes === 0) break;
      this.#bytes[slot] = bytes;
      this.#due[slot] = performance.now() + delayMs;
      this.#count++;
    }
    return true;
  }

  /** Gives on what is due, and says when the next packet is, performance.now(). */
  give(): number {
    while (this.#count > 0) {
      const due = this.#due[this.#head] ?? 0;
      if (due > performance.now()) return due;
      writePacket(this.#to, this.#memory.address + this.#head * PACKET_MAX_BYTES, this.#bytes[this.#head] ?? 0);
      this.#head = (this.#head + 1) % PACKETS_MAX;
      this.#count--;
    }
    return Number.POSITIVE_INFINITY;
  }
}

function carry(order: DelayOrder): void {
  const [a, b] = [openTun(order.names[0]), openTun(order.names[1])];
  process.send?.('ready');
  const parent = process.ppid;
  const directions = [new Direction(a, b), new Direction(b, a)];
  // This loop blocks the thread, so that no event tells of the bench's end: another parent does.
  while (process.ppid === parent && directions.every((direction) => direction.take(order.delayMs))) {
    const next = Math.min(...directions.map((direction) => direction.give()));
    awaitPackets([a, b], Math.min(IDLE_MS, next - performance.now()));
  }
  process.exit(0);
}

process.once('message', (order: DelayOrder) => carry(order));
