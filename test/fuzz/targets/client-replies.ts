/** The NBD client's requests in flight, against a server that sends what the input says. */
import { Memory } from '../../../native/memory.ts';
import type { Agreement } from '../../../receiver/copy/client.ts';
import { type ContentSink, type Pending, Requests } from '../../../receiver/copy/requests.ts';
import { peek } from '../engine/copy.ts';
import { Script, ScriptStream } from '../engine/script-stream.ts';
import type { FuzzTarget } from '../engine/target.ts';
import { must } from '../engine/violation.ts';
import { endsConnection, packets } from './connection.ts';
import { outcome } from './outcome.ts';
import { type Answered, readReplies, readRequests } from './reply-oracle.ts';
import {
  anyReply,
  CONTEXT_ID,
  dataChunk,
  errorChunk,
  hashChunk,
  holeChunk,
  simpleReply,
  statusChunk,
  zstdChunk,
} from './server-messages.ts';

const OFFSET = 2 ** 20;
const LENGTHS = [512, 4096, 8192, 513] as const;
const REQUESTS_MAX = 8;
const GUARD = 64;
const CANARY = 0xcc;

/** Memory for one request, with canaries around it. */
class Sink implements ContentSink {
  readonly memory = new Memory(16384);
  readonly #length: number;

  constructor(length: number) {
    this.#length = length;
    this.memory.bytes.fill(CANARY);
  }

  #range(start: number, length: number): void {
    must(start >= 0 && length > 0 && start + length <= this.#length, `content at ${start} of ${length} bytes`);
  }

  room(start: number, length: number): { address: number; length: number } {
    this.#range(start, length);
    return { address: this.memory.address + GUARD + start, length };
  }

  filled(start: number, length: number): void {
    this.#range(start, length);
  }

  hole(start: number, length: number): void {
    this.#range(start, length);
    this.memory.bytes.fill(0, GUARD + start, GUARD + start + length);
  }
}

interface Asked {
  pending: Pending;
  memory: Memory | undefined;
}

/** First record: what was agreed on, then a byte for each request. */
function prepare(config: Buffer): { agreement: Agreement; kinds: number[] } {
  const bits = config[0] ?? 0;
  const structured = (bits & 1) !== 0;
  const agreement: Agreement = {
    sizeBytes: 2 ** 30,
    structured,
    hashes: structured && (bits & 2) !== 0,
    compression: structured && (bits & 10) === 10,
    allocationId: structured && (bits & 4) !== 0 ? CONTEXT_ID : undefined,
  };
  return { agreement, kinds: [...config.subarray(1, 1 + REQUESTS_MAX)] };
}

function ask(requests: Requests, agreement: Agreement, kinds: readonly number[]): Asked[] {
  return kinds.map((kind, index) => {
    const offset = OFFSET * index;
    if ((kind & 0x80) !== 0 && agreement.allocationId !== undefined) {
      return { pending: requests.status(offset, 65536), memory: undefined };
    }
    const length = LENGTHS[kind % LENGTHS.length] ?? 512;
    if ((kind & 0x40) !== 0 && agreement.hashes) return { pending: requests.hash(offset, length), memory: undefined };
    const sink = new Sink(length);
    return { pending: requests.read(offset, length, sink), memory: sink.memory };
  });
}

function judgeCanaries({ pending, memory }: Asked): void {
  if (!memory || pending.kind !== 'read') return;
  const behind = peek(memory.address + GUARD + pending.length, memory.length - GUARD - pending.length);
  const touched = [...peek(memory.address, GUARD), ...behind].some((byte) => byte !== CANARY);
  must(!touched, 'memory outside of a request was written');
}

/** A request that came back, against what the server's bytes say about it. */
function judgeReply({ pending, memory }: Asked, said: Answered | undefined): void {
  must(said !== undefined, 'a request was completed that was not answered');
  must(said.failed === (pending.error !== undefined), 'an error that was not told, or none that was');
  if (pending.error) return;
  if (pending.kind === 'status') {
    must(
      JSON.stringify(pending.descriptors) === JSON.stringify(said.descriptors),
      'another status than the server told',
    );
    return;
  }
  must(said.parts !== undefined, 'a READ was completed without all of its bytes');
  if (!memory) return;
  const got = peek(memory.address + GUARD, pending.length);
  for (const { start, length, data } of said.parts) {
    const sent = data ?? Buffer.alloc(length);
    must(got.subarray(start, start + length).equals(sent), 'other bytes than the server sent');
  }
}

function runReplies(records: readonly Buffer[]): string {
  const { agreement, kinds } = prepare(records[0] ?? Buffer.alloc(0));
  const taken: Buffer[] = [];
  const sent: Buffer[] = [];
  const script = new Script(packets(records.slice(1), taken), (bytes) => sent.push(bytes));
  const requests = new Requests(new ScriptStream(script), agreement);
  const asked = ask(requests, agreement, kinds);
  const order: Asked[] = [];
  let result = 'all';
  try {
    requests.flush();
    while (requests.inFlight > 0) {
      const pending = requests.complete();
      const one = asked.find((other) => other.pending === pending);
      must(one !== undefined && !order.includes(one), 'a request was completed twice');
      order.push(one);
    }
    requests.disconnect();
  } catch (error) {
    if (!endsConnection(error)) throw error;
    result = outcome(error);
  }
  try {
    const replies = readReplies(
      Buffer.concat(taken).subarray(0, script.read),
      readRequests(Buffer.concat(sent)),
      agreement,
    );
    for (const [index, one] of order.entries()) judgeReply(one, replies[index]);
    for (const one of asked) judgeCanaries(one);
  } finally {
    for (const { memory } of asked) memory?.free();
    requests.free();
  }
  return `${order.length} ${result}`;
}

const HASH = Buffer.alloc(16, 7);

export const clientReplies: FuzzTarget = {
  name: 'client-replies',
  first: (random) => Buffer.concat([Buffer.from([random.below(16)]), random.bytes(1 + random.below(REQUESTS_MAX))]),
  message: (random) => {
    const index = random.below(4);
    return anyReply(random, index + 1, index * OFFSET, random.pick(LENGTHS));
  },
  seeds: () => [
    [Buffer.from([0, 0, 1]), simpleReply(2, 0, Buffer.alloc(4096, 1)), simpleReply(1, 0, Buffer.alloc(512, 2))],
    [
      Buffer.from([3, 2, 1]),
      dataChunk(1, 0, Buffer.alloc(4096, 1)),
      holeChunk(1, 4096, 4096),
      hashChunk(1, 0, 8192, HASH),
      dataChunk(2, OFFSET, Buffer.alloc(4096, 2)),
      hashChunk(2, OFFSET, 4096, HASH),
    ],
    [
      Buffer.from([1, 2, 1]),
      dataChunk(1, 4096, Buffer.alloc(4096, 1), false),
      dataChunk(2, OFFSET, Buffer.alloc(4096, 2), true),
      holeChunk(1, 0, 4096, true),
    ],
    [
      Buffer.from([11, 2, 0x40, 1]),
      zstdChunk(1, 0, Buffer.alloc(4096, 3)),
      holeChunk(1, 4096, 4096),
      hashChunk(1, 0, 8192, HASH),
      hashChunk(2, OFFSET, 512, HASH),
      errorChunk(3, 5, 'bad'),
    ],
    [Buffer.from([5, 0x80, 0]), statusChunk(1, [[65536, 0]]), errorChunk(2, 5, 'bad', OFFSET)],
  ],
  run: runReplies,
};
