/** The copy loop of one connection, from a server that lies to a target in memory. */
import { RehostError } from '../../../appliance/api/errors.ts';
import { BLOCK_BYTES } from '../../../appliance/api/transfer.ts';
import { Board } from '../../../receiver/copy/board.ts';
import type { Agreement } from '../../../receiver/copy/client.ts';
import { blockLength, blockOffset, hashOf as keptHash, makePlan, WRITTEN } from '../../../receiver/copy/plan.ts';
import { Puller } from '../../../receiver/copy/pull.ts';
import { Requests } from '../../../receiver/copy/requests.ts';
import { Script, ScriptStream } from '../engine/script-stream.ts';
import type { FuzzTarget } from '../engine/target.ts';
import { must } from '../engine/violation.ts';
import { endsConnection } from './connection.ts';
import { hashOf } from './hash.ts';
import { anyOrder, LyingServer } from './lying-server.ts';
import { MemoryTarget, UNWRITTEN } from './memory-target.ts';
import { outcome } from './outcome.ts';
import { type Answered, readReplies } from './reply-oracle.ts';

const KIB = 1024;
const TAIL = 12 * KIB + 512;
/** Disks of one short block, of a whole one and a short one, and of three. */
const SIZES = [TAIL, BLOCK_BYTES + TAIL, 2 * BLOCK_BYTES + TAIL] as const;
const LARGEST = SIZES[2];
const WORKER = 1;

/** Mostly zeros: data at the start, over the border of a step, between short zeros, and in each block's end. */
const source = Buffer.alloc(LARGEST);
for (let block = 0; block < LARGEST; block += BLOCK_BYTES) {
  for (const [from, to] of [
    [0, 8],
    [12, 13],
    [240, 280],
    [1024, 1100],
    [1104, 1110],
    [4092, 4096],
  ] as const) {
    const end = Math.min(LARGEST, block + to * KIB);
    for (let i = block + from * KIB; i < end; i++) source[i] = 1 + ((i * 13 + (i >> 9)) % 200);
  }
}

const pullers = { fail: new Puller('fail'), record: new Puller('record') };
// A disk's size each, and made once: what an input changes in them is undone after it.
const images = SIZES.map((size) => Buffer.alloc(size, UNWRITTEN));
const delivered = Buffer.alloc(LARGEST);

interface Copy {
  board: Board;
  target: MemoryTarget;
  agreement: Agreement;
  record: boolean;
  /** Where `delivered` holds what servers said; and where they said that they could not read. */
  told: [number, number][];
  failed: [number, number][];
}

/** First record: what is agreed on and ordered, the disk, and the block that is not in use. */
function prepare(config: Buffer): Copy {
  const bits = config[0] ?? 0;
  const structured = (bits & 1) !== 0;
  const hashes = structured && (bits & 2) !== 0;
  // Without structured replies there are no holes, and a block is 4 MiB on the wire.
  const image = images[(config[1] ?? 0) % (structured ? images.length : 1)];
  if (!image) throw new Error('There are no disks.');
  const sizeBytes = image.length;
  const free = (config[2] ?? 0) % 4;
  const ranges = SIZES.flatMap((_, block) => {
    const start = block * BLOCK_BYTES;
    return block === free || start >= sizeBytes ? [] : [start, Math.min(sizeBytes, start + BLOCK_BYTES)];
  });
  return {
    board: Board.create(makePlan(sizeBytes, Float64Array.from(ranges))),
    target: new MemoryTarget(image),
    agreement: { sizeBytes, structured, hashes, compression: hashes && (bits & 4) !== 0, allocationId: undefined },
    record: (bits & 8) !== 0,
    told: [],
    failed: [],
  };
}

/** One connection; says how it ended. */
function connection(copy: Copy, orders: readonly Buffer[]): string {
  const { board, target, agreement } = copy;
  const server = new LyingServer(source.subarray(0, target.sizeBytes), agreement, orders);
  const script = new Script(
    () => server.speak(),
    (bytes) => server.hear(bytes),
  );
  const requests = new Requests(new ScriptStream(script), agreement);
  let failed = false;
  let result = 'drained';
  try {
    pullers[copy.record ? 'record' : 'fail'].run({
      requests,
      board,
      target,
      worker: WORKER,
      ordered: agreement.hashes,
      mayAsk: () => true,
      progress: () => {},
    });
  } catch (error) {
    failed = error instanceof RehostError && error.code === 'SOURCE_READ_FAILED';
    if (!failed && !endsConnection(error)) throw error;
    board.giveBack(WORKER);
    result = outcome(error instanceof Error ? error : new Error(String(error)));
  } finally {
    requests.free();
  }
  const replies = readReplies(Buffer.concat(server.said).subarray(0, script.read), server.asked, agreement);
  must(!failed || replies.some((one) => one.failed), 'a read of the source failed that the server did not fail');
  for (const reply of replies) hear(copy, reply);
  judge(copy);
  return result;
}

/** What a server said, painted over the disk. */
function hear(copy: Copy, { asked, failed, parts }: Answered): void {
  if (failed) {
    copy.failed.push([asked.offset, asked.offset + asked.length]);
    // Zeros where it is recorded as bad; what is read after all comes over them.
    delivered.fill(0, asked.offset, asked.offset + asked.length);
  }
  if (!parts) return;
  for (const { start, length, data } of parts) {
    const at = asked.offset + start;
    if (data) data.copy(delivered, at);
    else delivered.fill(0, at, at + length);
  }
  copy.told.push([asked.offset, asked.offset + asked.length]);
}

/** Do the ranges cover all of [start, end)? */
function cover(ranges: readonly [number, number][], start: number, end: number): boolean {
  let at = start;
  for (const [from, to] of [...ranges].sort((a, b) => a[0] - b[0])) if (from <= at && to > at) at = to;
  return at >= end;
}

/** Every block that counts as written holds what was sent for it, and nothing else was touched. */
function judge(copy: Copy): void {
  const { board, target, agreement } = copy;
  const { plan } = board;
  const told = [...copy.told];
  for (const [offset, length] of board.badRanges()) {
    must(copy.record && cover(copy.failed, offset, offset + length), `${length} bytes at ${offset} were called bad`);
    told.push([offset, offset + length]);
  }
  const blocks = Array.from({ length: plan.count }, (_, index) => {
    const start = blockOffset(plan, index);
    return { start, end: start + blockLength(plan, index) };
  });
  for (const touch of target.touched) {
    const inUse = blocks.some(({ start, end }) => touch.start >= start && touch.end <= end);
    must(inUse, `${touch.start} to ${touch.end} of the target was written, where nothing is in use`);
  }
  for (let block = 0; block < plan.count; block++) {
    if (plan.states[block] !== WRITTEN) continue;
    const start = blockOffset(plan, block);
    const end = start + blockLength(plan, block);
    must(cover(told, start, end), `the block at ${start} is done without all of its bytes`);
    const content = delivered.subarray(start, end);
    must(target.image.subarray(start, end).equals(content), `the block at ${start} is another than was sent`);
    const kept = agreement.hashes || hashOf(content).equals(keptHash(plan, block));
    must(kept, `the hash of the block at ${start} is another`);
  }
}

/** A server that lies; when it lost the connection by that, an honest one finishes the copy. */
function run(records: readonly Buffer[]): string {
  const copy = prepare(records[0] ?? Buffer.alloc(0));
  try {
    const first = connection(copy, records.slice(1));
    if (!copy.board.complete) {
      connection(copy, []);
      must(copy.board.complete, 'an honest server could not finish the copy');
    }
    return first;
  } finally {
    copy.target.reset();
  }
}

const BAD = Buffer.from([3, 0, 0, 0, 0, 0, 5, 255]);

export const pull: FuzzTarget = {
  name: 'client-pull',
  first: (random) => Buffer.from([random.below(16), random.pick([0, 0, 1, 1, 2]), random.below(4)]),
  message: anyOrder,
  seeds: () => [
    [Buffer.from([0, 0, 3])],
    [Buffer.from([1, 2, 3])],
    [Buffer.from([3, 2, 1])],
    [Buffer.from([7, 1, 3])],
    [Buffer.from([3, 1, 3]), BAD, Buffer.from([1, 1])],
    [Buffer.from([15, 0, 3]), ...Array.from({ length: 10 }, () => BAD)],
    [Buffer.from([1, 1, 3]), BAD, BAD],
  ],
  run,
};
