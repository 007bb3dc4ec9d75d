/**
 * A server that knows the disk and answers as each record of the input says: right, late, in pieces, damaged, or with something
 * else. Without further records it answers right.
 */
import type { Random } from '../engine/random.ts';
import { hashOf } from './hash.ts';
import type { Agreed, Asked } from './reply-oracle.ts';
import { readRequests } from './reply-oracle.ts';
import { anyReply, dataChunk, errorChunk, hashChunk, holeChunk, simpleReply, zstdChunk } from './server-messages.ts';

const ORDERS = 9;
/** Longer parts than this go as they are: a frame of more than a step is refused, bytes. */
const FRAME_MAX_BYTES = 200 * 1024;
const GRAIN = 4096;
const ZEROS = Buffer.alloc(GRAIN);

export class LyingServer {
  readonly #source: Buffer;
  readonly #agreed: Agreed;
  readonly #orders: readonly Buffer[];
  #next = 0;
  #sent = Buffer.alloc(0);
  #open: Asked[] = [];
  /** Everything that it said and that was taken from it, in order. */
  readonly said: Buffer[] = [];
  /** Every request that it got. */
  readonly asked: Asked[] = [];

  constructor(source: Buffer, agreed: Agreed, orders: readonly Buffer[]) {
    this.#source = source;
    this.#agreed = agreed;
    this.#orders = orders;
  }

  /** Takes what the client sends. */
  hear(bytes: Buffer): void {
    const all = Buffer.concat([this.#sent, bytes]);
    const whole = all.length - (all.length % 28);
    const requests = readRequests(all.subarray(0, whole));
    this.#sent = all.subarray(whole);
    this.#open.push(...requests);
    this.asked.push(...requests);
  }

  /** The next packet; undefined when it has nothing more to say. */
  speak(): Buffer | undefined {
    for (;;) {
      const order = this.#orders[this.#next++];
      const packet = order ? this.#obey(order) : this.#right(this.#open.shift());
      if (packet === undefined) return undefined;
      if (packet.length === 0) continue;
      this.said.push(packet);
      return packet;
    }
  }

  #obey(order: Buffer): Buffer {
    const index = this.#open.length === 0 ? 0 : (order[1] ?? 0) % this.#open.length;
    const one = this.#open[index];
    const kind = (order[0] ?? 0) % ORDERS;
    if (kind === 4) return order.subarray(1);
    if (!one) return Buffer.alloc(0);
    const right = this.#right(one) ?? Buffer.alloc(0);
    // A part of an answer leaves the request open.
    if (kind < 6) this.#open.splice(index, 1);
    const place = order.length >= 6 ? order.readUInt32LE(2) : 0;
    switch (kind) {
      case 2: {
        const damaged = Buffer.from(right);
        // The heads are where a change matters most.
        const at = place % Math.min(damaged.length, (order[7] ?? 0) < 128 ? 32 : damaged.length);
        damaged[at] = (damaged[at] ?? 0) ^ ((order[6] ?? 0) || 0xff);
        return damaged;
      }
      case 3:
        if (!this.#agreed.structured) return simpleReply(one.cookie, 5);
        return errorChunk(
          one.cookie,
          (order[6] ?? 0) || 5,
          'bad sector',
          (order[7] ?? 0) < 128 ? undefined : one.offset,
        );
      case 5: {
        if (!this.#agreed.structured) return simpleReply(one.cookie, 0, Buffer.alloc(one.length));
        const hole = holeChunk(one.cookie, one.offset, one.length, !this.#agreed.hashes);
        return this.#agreed.hashes
          ? Buffer.concat([hole, hashChunk(one.cookie, one.offset, one.length, hashOf(Buffer.alloc(one.length)))])
          : hole;
      }
      case 6:
        return right.subarray(0, place % (right.length + 1));
      case 7: {
        const start = place % one.length;
        const length = Math.min(
          one.length - start,
          1 + ((order.length >= 10 ? order.readUInt32LE(6) : 0) % one.length),
        );
        const part = this.#source.subarray(one.offset + start, one.offset + start + length);
        return dataChunk(one.cookie, one.offset + start, part);
      }
      case 8: {
        const start = (place % one.length) & ~4095;
        return holeChunk(one.cookie, one.offset + start, one.length - start);
      }
      default:
        return right;
    }
  }

  /** The answer of an honest server: zero grains as holes, the hash at the end. */
  #right(one: Asked | undefined): Buffer | undefined {
    if (!one) return undefined;
    const { cookie, offset, length } = one;
    const data = this.#source.subarray(offset, offset + length);
    if (!this.#agreed.structured) return simpleReply(cookie, 0, data);
    const parts: Buffer[] = [];
    const zero = (at: number): boolean => {
      const grain = data.subarray(at, at + GRAIN);
      return grain.equals(ZEROS.subarray(0, grain.length));
    };
    for (let at = 0; at < length; ) {
      const hole = zero(at);
      let end = Math.min(length, at + GRAIN);
      while (end < length && zero(end) === hole) end = Math.min(length, end + GRAIN);
      const last = end === length && !this.#agreed.hashes;
      const content = data.subarray(at, end);
      if (hole) parts.push(holeChunk(cookie, offset + at, end - at, last));
      else if (this.#agreed.compression && content.length <= FRAME_MAX_BYTES) {
        parts.push(zstdChunk(cookie, offset + at, content, last));
      } else parts.push(dataChunk(cookie, offset + at, content, last));
      at = end;
    }
    if (this.#agreed.hashes) parts.push(hashChunk(cookie, offset, length, hashOf(data)));
    return Buffer.concat(parts);
  }
}

export function anyOrder(random: Random): Buffer {
  if (random.once(8)) return Buffer.concat([Buffer.from([4]), anyReply(random, 1 + random.below(6), 0, 4096)]);
  const order = random.bytes(10);
  order[0] = random.below(ORDERS);
  order[1] = random.below(4);
  order.writeUInt32LE(random.once(2) ? random.below(64) : random.interesting() % 2 ** 32, 2);
  return order;
}
