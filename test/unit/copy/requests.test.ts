/** The client against hostile servers: every reply is scripted over a real socket. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import { Memory } from '../../../native/memory.ts';
import { closeSocket, PlainStream, receiveSome } from '../../../native/socket.ts';
import { Patience } from '../../../native/stream.ts';
import { type Agreement, agree } from '../../../receiver/copy/client.ts';
import { readMap } from '../../../receiver/copy/map.ts';
import { type ContentSink, type PendingRead, Requests } from '../../../receiver/copy/requests.ts';
import { socketPair } from '../native/sockets.ts';

const patience = new Patience(1_000, () => {});
const GUARD = 4096;
const LENGTH = 8192;
const OFFSET = 0x100000;
const bytes = (...parts: (string | Buffer)[]): Buffer =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part.replaceAll(' ', ''), 'hex') : part)));
const COOKIE = '0000000000000001';
function u32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32BE(value);
  return buffer;
}
const u64 = (value: number): Buffer => {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64BE(BigInt(value));
  return buffer;
};
const chunk = (flags: string, type: string, payload: Buffer, cookie = COOKIE): Buffer =>
  bytes('668e33ef', flags, type, cookie, u32(payload.length), payload);
const data = (start: number, length: number, flags = '0000', fill = 0x5a): Buffer =>
  chunk(flags, '0001', bytes(u64(OFFSET + start), Buffer.alloc(length, fill)));
const hole = (start: number, length: number, flags = '0000'): Buffer =>
  chunk(flags, '0002', bytes(u64(OFFSET + start), u32(length)));
const hash = (flags = '0001', offset = OFFSET, length = LENGTH): Buffer =>
  chunk(flags, '5248', bytes(u64(offset), u32(length), Buffer.alloc(16, 0x77)));
const DONE = chunk('0001', '0000', Buffer.alloc(0));
const FRAMED = Buffer.alloc(5000, 'a page of the same words, ');
/** By Node's own zstd: another way to the same format. */
const FRAME = zstdCompressSync(FRAMED);
const frame = (start: number, payload: Buffer, length = FRAMED.length): Buffer =>
  chunk('0000', '5249', bytes(u64(OFFSET + start), u32(length), payload));

const structured: Agreement = {
  sizeBytes: 2 ** 30,
  structured: true,
  allocationId: 5,
  hashes: false,
  compression: false,
};
const hashed: Agreement = { ...structured, hashes: true };
const compressed: Agreement = { ...hashed, compression: true };
const simple: Agreement = { ...structured, structured: false, allocationId: undefined };

/** Takes content in pieces of at most 1000 bytes, and notes holes. */
class Collector implements ContentSink {
  readonly holes: [number, number][] = [];
  filledBytes = 0;
  readonly #address: number;
  readonly #piece: number;

  constructor(address: number, piece: number) {
    this.#address = address;
    this.#piece = piece;
  }

  room(start: number, length: number): { address: number; length: number } {
    return { address: this.#address + start, length: Math.min(length, this.#piece) };
  }

  filled(_start: number, length: number): void {
    this.filledBytes += length;
  }

  hole(start: number, length: number): void {
    this.holes.push([start, length]);
  }
}

interface Outcome {
  read: PendingRead;
  content: Buffer;
  sink: Collector;
  /** Bytes of each step that was told. */
  steps: number[];
}

/** What one READ of LENGTH bytes at OFFSET makes of a server's bytes, and that nothing around its memory was touched. */
function read(agreement: Agreement, script: Buffer, piece = LENGTH): Outcome {
  const [client, server] = socketPair();
  const sender = new PlainStream(server, patience);
  const memory = new Memory(LENGTH + 2 * GUARD);
  const outgoing = new Memory(Math.max(1, script.length));
  const stream = new PlainStream(client, patience);
  const steps: number[] = [];
  const requests = new Requests(stream, agreement, (length) => steps.push(length));
  const sink = new Collector(memory.address + GUARD, piece);
  memory.bytes.fill(0xcc);
  try {
    outgoing.bytes.set(script);
    sender.write(outgoing.address, script.length);
    const pending = requests.read(OFFSET, LENGTH, sink);
    requests.flush();
    receiveSome(server, outgoing.address, 28);
    sender.close();
    assert.equal(requests.complete(), pending);
    return { read: pending, content: Buffer.from(memory.bytes.slice(GUARD, GUARD + LENGTH)), sink, steps };
  } finally {
    const guards = Buffer.concat([memory.bytes.subarray(0, GUARD), memory.bytes.subarray(GUARD + LENGTH)]);
    assert.ok(
      guards.every((byte) => byte === 0xcc),
      'nothing is written outside of the request',
    );
    sender.close();
    stream.close();
    requests.free();
    memory.free();
    outgoing.free();
  }
}

describe('replies that are right', () => {
  it('are taken in any order of chunks', () => {
    const {
      read: done,
      content,
      sink,
    } = read(structured, bytes(data(4096, 4096, '0000', 2), hole(2048, 2048), data(0, 2048, '0001', 1)));
    assert.equal(done.covered, LENGTH);
    assert.equal(content[0], 1);
    assert.equal(content[4096], 2);
    assert.deepEqual(sink.holes, [[2048, 2048]]);
  });

  it('go to their sink in as small steps as it wants, each of which is told', () => {
    const { content, sink, steps } = read(hashed, bytes(data(0, 5000, '0000', 3), hole(5000, 3192), hash()), 1000);
    assert.ok(content.subarray(0, 5000).every((byte) => byte === 3));
    assert.equal(sink.filledBytes, 5000);
    assert.deepEqual(sink.holes, [[5000, 3192]]);
    assert.deepEqual(steps, [1000, 1000, 1000, 1000, 1000]);
  });

  it('bring frames where compression was agreed on, and give what they hold', () => {
    const { content, steps } = read(compressed, bytes(frame(0, FRAME), data(5000, LENGTH - 5000, '0000', 7), hash()));
    assert.ok(content.subarray(0, 5000).equals(FRAMED));
    assert.ok(content.subarray(5000).every((byte) => byte === 7));
    assert.deepEqual(steps, [5000, LENGTH - 5000]);
  });

  it('bring the hash that was agreed on', () => {
    const { read: done } = read(hashed, bytes(data(0, LENGTH), hash()));
    assert.deepEqual(Buffer.from(done.hash ?? []), Buffer.alloc(16, 0x77));
  });

  it('are simple where nothing else was agreed on', () => {
    const { content } = read(simple, bytes('67446698 00000000', COOKIE, Buffer.alloc(LENGTH, 9)));
    assert.ok(content.every((byte) => byte === 9));
  });

  it('bring errors with their place and words', () => {
    const payload = bytes(u32(5), '0003', Buffer.from('bad'), u64(OFFSET + 512));
    const { read: failed } = read(structured, bytes(data(0, 512), chunk('0001', '8002', payload)));
    assert.deepEqual(failed.error, { errno: 5, message: 'bad', offset: OFFSET + 512 });
    assert.equal(read(simple, bytes('67446698 00000005', COOKIE)).read.error?.errno, 5);
  });
});

describe('replies that are wrong', () => {
  const wrong: [string, Agreement, Buffer, RegExp][] = [
    ['another magic', structured, bytes('668e33ee', Buffer.alloc(40)), /wrong magic/],
    ['the cookie of no request', structured, chunk('0001', '0001', Buffer.alloc(20), '0000000000000002'), /no request/],
    [
      'a cookie in the upper half',
      structured,
      chunk('0001', '0001', Buffer.alloc(20), '0000000100000001'),
      /no request/,
    ],
    ['unknown flags', structured, chunk('0003', '0000', Buffer.alloc(0)), /Reply flags 3/],
    ['an unknown type', structured, chunk('0001', '0007', Buffer.alloc(8)), /type 7/],
    ['data before the range', structured, data(-512, 512, '0001'), /answers a READ/],
    ['data behind the range', structured, data(LENGTH, 512, '0001'), /answers a READ/],
    ['data across the end', structured, data(LENGTH - 511, 512, '0001'), /answers a READ/],
    ['more data than asked for', structured, data(0, LENGTH + 1, '0001'), /data chunk of 8201 bytes/],
    ['data of nothing', structured, data(0, 0, '0001'), /data chunk of 8 bytes/],
    ['data of 4 GiB', structured, bytes('668e33ef 0001 0001', COOKIE, 'ffffffff', u64(OFFSET)), /4294967295 bytes/],
    ['an offset of 64 bits', structured, chunk('0001', '0001', bytes('ffffffffffffffff', '00')), /answers a READ/],
    ['data twice', structured, bytes(data(0, 4096), data(0, 4096), DONE), /overlaps/],
    ['data over a hole', structured, bytes(hole(0, 4096), data(4095, 4097), DONE), /overlaps/],
    ['a hole over data', structured, bytes(data(512, 512), hole(0, 4096), DONE), /overlaps/],
    ['a hole of nothing', structured, hole(0, 0), /answers a READ/],
    ['a hole of 4 GiB', structured, hole(0, 2 ** 32 - 1), /answers a READ/],
    ['a short hole chunk', structured, chunk('0001', '0002', u64(OFFSET)), /hole chunk of 8 bytes/],
    ['a missing range', structured, bytes(data(0, 4096), data(4608, 3584, '0001')), /answered with 7680/],
    ['nothing at all', structured, DONE, /answered with 0/],
    ['an empty chunk with a payload', structured, chunk('0001', '0000', Buffer.alloc(1)), /not empty/],
    ['an empty chunk that is not the last', structured, chunk('0000', '0000', Buffer.alloc(0)), /not the last/],
    ['a hash that was not agreed on', structured, bytes(data(0, LENGTH), hash()), /type 21064/],
    ['no hash', hashed, data(0, LENGTH, '0001'), /without the hash/],
    ['the hash of another range', hashed, bytes(data(0, LENGTH), hash('0001', OFFSET + 1)), /another range/],
    ['the hash of another length', hashed, bytes(data(0, LENGTH), hash('0001', OFFSET, 1)), /another range/],
    ['two hashes', hashed, bytes(data(0, LENGTH), hash('0000'), hash()), /second one/],
    ['chunks out of order', hashed, bytes(data(4096, 4096), data(0, 4096), hash()), /out of order/],
    ['a gap', hashed, bytes(data(0, 4096), hole(4608, 3584), hash()), /out of order/],
    ['a frame that was not agreed on', hashed, bytes(frame(0, FRAME), DONE), /type 21065/],
    ['a frame of nothing', compressed, frame(0, Buffer.alloc(0)), /compressed chunk of 12 bytes/],
    [
      'a frame longer than a step',
      compressed,
      bytes('668e33ef 0000 5249', COOKIE, u32(12 + 262144)),
      /of 262156 bytes/,
    ],
    ['a frame that claims 4 GiB', compressed, frame(0, FRAME, 2 ** 32 - 1), /4294967295 bytes of content/],
    ['a frame behind the range', compressed, frame(LENGTH - 4999, FRAME), /answers a READ/],
    ['a damaged frame', compressed, frame(0, Buffer.concat([FRAME.subarray(0, 8), Buffer.alloc(20, 0xff)])), /damaged/],
    ['a frame that is cut short', compressed, frame(0, FRAME.subarray(0, -1)), /damaged/],
    ['a frame of less than it says', compressed, frame(0, FRAME, 5001), /of another length/],
    ['a frame of more than it says', compressed, frame(0, FRAME, 4999), /of another length/],
    ['a simple reply', structured, bytes('67446698 00000000', COOKIE, Buffer.alloc(LENGTH)), /simple reply/],
    ['a structured reply', simple, data(0, LENGTH, '0001'), /not agreed on/],
    ['a status', structured, chunk('0001', '0005', Buffer.alloc(12)), /type 5/],
    ['an error without an error', structured, chunk('0001', '8001', bytes(u32(0), '0000')), /without an error/],
    ['an error longer than itself', structured, chunk('0001', '8001', bytes(u32(5), '0fff')), /longer than itself/],
    ['an error of 4 GiB', structured, bytes('668e33ef 0001 8001', COOKIE, 'ffffffff'), /4294967295 bytes/],
    [
      'endless chunks',
      structured,
      Buffer.concat(Array.from({ length: 4097 }, (_, i) => hole(i, 1))),
      /More than 4096 chunks/,
    ],
  ];
  for (const [name, agreement, script, message] of wrong) {
    it(`end the connection: ${name}`, () => {
      assert.throws(() => read(agreement, script), { code: 'PROTOCOL_VIOLATION', message });
    });
  }

  it('end the connection when they stop in the middle', () => {
    const whole = bytes(data(0, 4096), hole(4096, 4096), DONE);
    for (const length of [0, 1, 15, 16, 19, 20, 27, 28, 100, 4124, 4130, whole.length - 1]) {
      assert.throws(() => read(structured, whole.subarray(0, length)), { name: 'StreamError', fault: 'closed' });
    }
  });

  it('never write outside of the request, whatever is flipped in them', () => {
    const good = bytes(data(0, 2048, '0000', 1), hole(2048, 2048), data(4096, 4096, '0000', 2), hash());
    let state = 11;
    const random = (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    let survived = 0;
    for (let round = 0; round < 400; round++) {
      const script = Buffer.from(good);
      const heads = [0, 2076, 2108, 6232];
      for (let i = 0; i <= random(2); i++) {
        const at = random(2) === 0 ? random(script.length) : (heads[random(4)] ?? 0) + random(28);
        script[at] = random(256);
      }
      try {
        const { read: done } = read(hashed, script);
        if (!done.error) assert.equal(done.covered, LENGTH);
        survived++;
      } catch (error) {
        const known = error instanceof Error && ['RehostError', 'StreamError', 'SysError'].includes(error.name);
        if (!known) throw error;
      }
    }
    assert.ok(survived > 0 && survived < 400, `${survived} of 400 flips were harmless`);
  });
});

describe('requests of a hash', () => {
  const ask = (script: Buffer): Uint8Array | undefined =>
    against(script, (stream) => {
      const requests = new Requests(stream, hashed);
      try {
        const asked = requests.hash(OFFSET, LENGTH);
        requests.flush();
        assert.equal(requests.complete(), asked);
        return asked.hash;
      } finally {
        requests.free();
      }
    });

  it('bring it, and nothing else', () => {
    assert.deepEqual(Buffer.from(ask(hash()) ?? []), Buffer.alloc(16, 0x77));
  });

  const wrong: [string, Buffer, RegExp][] = [
    ['with content', bytes(data(0, LENGTH), hash()), /Content where a hash alone/],
    ['with a hole', bytes(hole(0, LENGTH), hash()), /Content where a hash alone/],
    ['without it', DONE, /without the hash/],
  ];
  for (const [name, script, message] of wrong) {
    it(`end the connection when they are answered ${name}`, () => {
      assert.throws(() => ask(script), { code: 'PROTOCOL_VIOLATION', message });
    });
  }
});

describe('replies to several requests', () => {
  const two = (agreement: Agreement): string =>
    against(bytes(chunk('0001', '0002', bytes(u64(OFFSET + LENGTH), u32(LENGTH)), '0000000000000002')), (stream) => {
      const requests = new Requests(stream, agreement);
      const memory = new Memory(LENGTH);
      try {
        const sink = new Collector(memory.address, LENGTH);
        requests.read(OFFSET, LENGTH, sink);
        requests.read(OFFSET + LENGTH, LENGTH, sink);
        requests.flush();
        const { offset } = requests.complete();
        return String(offset);
      } finally {
        requests.free();
        memory.free();
      }
    });

  it('come in any order, but for a server that promised theirs', () => {
    assert.equal(two(structured), String(OFFSET + LENGTH));
    assert.throws(() => two(hashed), { code: 'PROTOCOL_VIOLATION', message: /out of turn/ });
  });
});

/** Runs against a server whose bytes were all sent before. */
function against<T>(script: Buffer, run: (stream: PlainStream) => T): T {
  const [client, server] = socketPair();
  const outgoing = new Memory(Math.max(1, script.length));
  outgoing.bytes.set(script);
  const sender = new PlainStream(server, patience);
  sender.write(outgoing.address, script.length);
  const stream = new PlainStream(client, patience);
  try {
    return run(stream);
  } finally {
    stream.close();
    closeSocket(server);
    outgoing.free();
  }
}

describe('maps', () => {
  const status = (cookie: number, context: number, ...descriptors: [number, number][]): Buffer =>
    chunk(
      '0001',
      '0005',
      bytes(u32(context), ...descriptors.map(([length, flags]) => bytes(u32(length), u32(flags)))),
      cookie.toString(16).padStart(16, '0'),
    );
  const map = (sizeBytes: number, ...replies: Buffer[]): number[] =>
    against(Buffer.concat(replies), (stream) => {
      const agreement = { ...structured, sizeBytes };
      const requests = new Requests(stream, agreement);
      try {
        return [...readMap(requests, agreement, () => {})];
      } finally {
        requests.free();
      }
    });

  it('take as used what is not said to be zero, over several answers', () => {
    const answers = [status(1, 5, [8192, 0], [8192, 3]), status(2, 5, [4096, 1], [4096, 2], [2 ** 31, 0])];
    assert.deepEqual(map(65536, ...answers), [0, 8192, 16384, 20480, 24576, 65536]);
  });

  it('take everything as used when the server cannot tell', () => {
    const error = chunk('0001', '8001', bytes(u32(22), '0000'));
    assert.deepEqual(map(65536, error), [0, 65536]);
    assert.deepEqual(
      against(Buffer.alloc(0), (stream) => [...readMap(new Requests(stream, simple), simple, () => {})]),
      [0, 2 ** 30],
    );
  });

  const wrong: [string, Buffer, RegExp][] = [
    ['of another context', status(1, 6, [65536, 0]), /context/],
    ['with a descriptor of nothing', status(1, 5, [4096, 0], [0, 3]), /no bytes/],
    ['without descriptors', chunk('0001', '0005', u32(5)), /status chunk of 4 bytes/],
    ['of an odd length', chunk('0001', '0005', Buffer.alloc(13)), /status chunk of 13 bytes/],
    ['of 4 GiB', bytes('668e33ef 0001 0005', COOKIE, 'fffffffc'), /4294967292 bytes/],
    ['that never comes', DONE, /without a status/],
    ['that is data', chunk('0001', '0001', Buffer.alloc(20)), /type 1/],
  ];
  for (const [name, script, message] of wrong) {
    it(`end the connection: a status ${name}`, () => {
      assert.throws(() => map(65536, script), { code: 'PROTOCOL_VIOLATION', message });
    });
  }
});

describe('agreeing', () => {
  const reply = (number: string, type: string, payload: string | Buffer = ''): Buffer => {
    const content = bytes(payload);
    return bytes('0003e889045565a9', number, type, u32(content.length), content);
  };
  const ACK = '00000001';
  const UNSUP = '80000001';
  const scratch = new Memory(8192);
  const run = (...replies: Buffer[]): Agreement =>
    against(Buffer.concat(replies), (stream) => agree(stream, scratch, 'sda'));
  const info = reply('00000007', '00000003', '0000 0000000000010000 0003');
  const least: Agreement = {
    sizeBytes: 65536,
    structured: true,
    allocationId: undefined,
    hashes: false,
    compression: false,
  };

  it('takes all that the server has', () => {
    const context = reply('0000000a', '00000004', bytes('0000002a', Buffer.from('base:allocation')));
    const sizes = reply('00000007', '00000003', '0003 00000200 00001000 02000000');
    const got = run(
      reply('00000008', ACK),
      reply('52480001', ACK),
      reply('52480002', ACK),
      context,
      reply('0000000a', ACK),
      info,
      sizes,
      reply('00000007', ACK),
    );
    assert.deepEqual(got, { sizeBytes: 65536, structured: true, allocationId: 42, hashes: true, compression: true });
  });

  it('does with the least', () => {
    const got = run(reply('00000008', UNSUP), info, reply('00000007', ACK));
    assert.deepEqual(got, { ...least, structured: false });
  });

  it('asks for no private option when the one before it was refused', () => {
    const context = reply('0000000a', UNSUP);
    const go = [info, reply('00000007', ACK)];
    assert.deepEqual(run(reply('00000008', ACK), reply('52480001', UNSUP), context, ...go), least);
    assert.deepEqual(run(reply('00000008', ACK), reply('52480001', ACK), reply('52480002', UNSUP), context, ...go), {
      ...least,
      hashes: true,
    });
  });

  it('names the export that the server does not have', () => {
    const refusal = reply('00000007', '80000006', Buffer.from('no such export'));
    assert.throws(() => run(reply('00000008', UNSUP), refusal), {
      code: 'TRANSFER_FAILED',
      message: /'sda'.*no such export/,
    });
  });

  const wrong: [string, Buffer[], RegExp][] = [
    ['a reply to another option', [reply('00000003', ACK)], /wrong magic or option/],
    ['a reply of 4 GiB', [bytes('0003e889045565a9 00000008 00000001 ffffffff')], /4294967295 bytes/],
    [
      'endless replies',
      Array.from({ length: 65 }, () => reply('00000008', '00000002', '00000000')),
      /More than 64 replies/,
    ],
    ['no size', [reply('00000008', UNSUP), reply('00000007', ACK)], /without its size/],
    [
      'a short size',
      [reply('00000008', UNSUP), reply('00000007', '00000003', '0000 00'), reply('00000007', ACK)],
      /not 12/,
    ],
    [
      'a size of 2^64',
      [reply('00000008', UNSUP), reply('00000007', '00000003', '0000 ffffffffffffffff 0003'), reply('00000007', ACK)],
      /An export of/,
    ],
    [
      'blocks of 64 KiB',
      [
        reply('00000008', UNSUP),
        info,
        reply('00000007', '00000003', '0003 00010000 00010000 02000000'),
        reply('00000007', ACK),
      ],
      /do not suit/,
    ],
  ];
  for (const [name, replies, message] of wrong) {
    it(`ends with ${name}`, () => {
      assert.throws(() => run(...replies), { code: 'PROTOCOL_VIOLATION', message });
    });
  }
});
