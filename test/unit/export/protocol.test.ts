/** The server's bytes, as a client sees them: golden vectors over a real socket, and what it refuses. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { AllocationMap } from '../../../agent/export/allocation/map.ts';
import { MessageIo } from '../../../agent/export/io.ts';
import { ClientFault, type Negotiated, negotiate } from '../../../agent/export/negotiate.ts';
import { DiskReader } from '../../../agent/export/reader.ts';
import { Transmission } from '../../../agent/export/transmit.ts';
import { Memory } from '../../../native/memory.ts';
import { closeSocket, PlainStream, receiveSome } from '../../../native/socket.ts';
import { Patience } from '../../../native/stream.ts';
import { socketPair } from '../native/sockets.ts';

const folder = mkdtempSync(join(tmpdir(), 'rehost-protocol-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const patience = new Patience(2_000, () => {});
const offers = [
  { name: 'sda', sizeBytes: 65536 },
  { name: 'vdb', sizeBytes: 1024 },
];

/** Sends `script` to the server side, runs it, and returns what it answered. The handshake is left out: `secured` counts it. */
class Client {
  readonly #fd: number;
  readonly #stream: PlainStream;
  readonly io: MessageIo;
  secured = 0;

  constructor(script: Buffer) {
    const [client, server] = socketPair();
    this.#fd = client;
    this.#stream = new PlainStream(client, patience);
    const memory = new Memory(script.length);
    memory.bytes.set(script);
    this.#stream.write(memory.address, script.length);
    memory.free();
    this.io = new MessageIo(new PlainStream(server, patience));
  }

  negotiate(): Negotiated | undefined {
    return negotiate(this.io, offers, () => {
      this.secured++;
      return this.io.stream;
    });
  }

  /** Everything that the server sent until now, hex. */
  answer(): string {
    const memory = new Memory(1024 * 1024);
    const parts: Buffer[] = [];
    for (;;) {
      const got = receiveSome(this.#fd, memory.address, memory.length);
      if (got === 0) break;
      parts.push(Buffer.from(memory.bytes.slice(0, got)));
    }
    memory.free();
    return Buffer.concat(parts).toString('hex');
  }

  end(): void {
    this.io.close();
    closeSocket(this.#fd);
  }
}

const bytes = (...parts: (string | Buffer)[]): Buffer =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part.replaceAll(' ', ''), 'hex') : part)));
const FLAGS = '00000003';
const option = (number: string, payload: string | Buffer = ''): Buffer => {
  const data = bytes(payload);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  return bytes('49484156454f5054', number, length, data);
};
const text = (value: string): Buffer => {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(Buffer.byteLength(value));
  return bytes(length, Buffer.from(value));
};
const STARTTLS = option('00000005');
const GREETING = '4e42444d41474943 49484156454f5054 0003'.replaceAll(' ', '');
const reply = (number: string, type: string, payload: string | Buffer = ''): string => {
  const data = bytes(payload);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  return bytes('0003e889045565a9', number, type, length, data).toString('hex');
};
const ACK = '00000001';

/** Runs a script of options after the flags; gives the answer behind the greeting. */
function negotiation(...options: Buffer[]): {
  answer: string;
  chosen: Negotiated | undefined;
  fault: string;
  secured: number;
} {
  // In a real negotiation STARTTLS is answered before anything else is sent. It comes first here, the rest behind its answer:
  // the pair of sockets stands for the encrypted stream.
  const client = new Client(bytes(FLAGS, ...options));
  let chosen: Negotiated | undefined;
  let fault = '';
  try {
    chosen = client.negotiate();
  } catch (error) {
    if (!(error instanceof ClientFault)) throw error;
    fault = error.message;
  }
  const answer = client.answer();
  client.end();
  assert.ok(answer.startsWith(GREETING));
  return { answer: answer.slice(GREETING.length), chosen, fault, secured: client.secured };
}

describe('negotiation before TLS', () => {
  const go = bytes(text('sda'), '0000');
  const refused: [string, Buffer, string][] = [
    ['LIST', option('00000003'), '00000003'],
    ['INFO', option('00000006', go), '00000006'],
    ['GO', option('00000007', go), '00000007'],
    ['STRUCTURED_REPLY', option('00000008'), '00000008'],
    ['SET_META_CONTEXT', option('0000000a', bytes(text('sda'), '00000000')), '0000000a'],
    ['the private option', option('52480001'), '52480001'],
    ['an unknown option', option('00001234'), '00001234'],
  ];
  for (const [name, message, number] of refused) {
    it(`answers ${name} with TLS_REQD`, () => {
      const { answer, chosen } = negotiation(message, option('00000002'));
      assert.equal(answer, reply(number, '80000005') + reply('00000002', ACK));
      assert.equal(chosen, undefined);
    });
  }

  it('ends at EXPORT_NAME', () => {
    const { answer, fault } = negotiation(option('00000001', Buffer.from('sda')));
    assert.equal(answer, '');
    assert.match(fault, /before STARTTLS/);
  });

  it('refuses data behind STARTTLS, before TLS begins', () => {
    const { answer, fault, secured } = negotiation(STARTTLS, option('00000007', go));
    assert.equal(fault, 'Data behind STARTTLS.');
    assert.equal(answer, '');
    assert.equal(secured, 0);
  });

  it('refuses STARTTLS with a payload', () => {
    const { answer, secured } = negotiation(option('00000005', '00'), option('00000002'));
    assert.equal(answer, reply('00000005', '80000003') + reply('00000002', ACK));
    assert.equal(secured, 0);
  });

  it('ends at a wrong magic, wrong flags, a huge option, and endless options', () => {
    assert.match(negotiation(bytes('494841564e4f5054 00000003 00000000')).fault, /magic/);
    const huge = negotiation(bytes('49484156454f5054 00000003 7fffffff'));
    assert.match(huge.fault, /2147483647 bytes; the limit is 16384/);
    assert.equal(huge.answer, reply('00000003', '80000009'));
    assert.match(negotiation(...Array.from({ length: 65 }, () => option('00000003'))).fault, /More than 64 options/);
    for (const flags of ['00000000', '00000002', '80000003']) {
      const client = new Client(bytes(flags));
      assert.throws(() => client.negotiate(), ClientFault);
      client.end();
    }
  });
});

describe('negotiation inside TLS', () => {
  /** The same, after STARTTLS: the rest of the script is sent when the handshake would run. */
  function encrypted(...options: Buffer[]): ReturnType<typeof negotiation> {
    const [client, server] = socketPair();
    const memory = new Memory(64 * 1024);
    const sender = new PlainStream(client, patience);
    const send = (message: Buffer): void => {
      memory.bytes.set(message);
      sender.write(memory.address, message.length);
    };
    send(bytes(FLAGS, STARTTLS));
    const io = new MessageIo(new PlainStream(server, patience));
    let secured = 0;
    let chosen: Negotiated | undefined;
    let fault = '';
    try {
      chosen = negotiate(io, offers, () => {
        secured++;
        send(bytes(...options));
        return io.stream;
      });
    } catch (error) {
      if (!(error instanceof ClientFault)) throw error;
      fault = error.message;
    }
    memory.bytes.fill(0);
    const got = receiveSome(client, memory.address, memory.length);
    const answer = Buffer.from(memory.bytes.slice(0, got)).toString('hex');
    io.close();
    sender.close();
    memory.free();
    const head = GREETING + reply('00000005', ACK);
    assert.ok(answer.startsWith(head));
    return { answer: answer.slice(head.length), chosen, fault, secured };
  }

  it('lists the exports', () => {
    const { answer, secured } = encrypted(option('00000003'), option('00000002'));
    const entries = reply('00000003', '00000002', text('sda')) + reply('00000003', '00000002', text('vdb'));
    assert.equal(answer, entries + reply('00000003', ACK) + reply('00000002', ACK));
    assert.equal(secured, 1);
  });

  it('agrees on structured replies, allocation, hashes, compression and an export', () => {
    const { answer, chosen } = encrypted(
      option('00000008'),
      option('52480001'),
      option('52480002'),
      option('0000000a', bytes(text('sda'), '00000001', text('base:allocation'))),
      option('00000007', bytes(text('sda'), '0001 0003')),
    );
    const info = '0000 0000000000010000 0183';
    const sizes = '0003 00000001 00040000 02000000';
    assert.equal(
      answer,
      reply('00000008', ACK) +
        reply('52480001', ACK) +
        reply('52480002', ACK) +
        reply('0000000a', '00000004', bytes('00000001', Buffer.from('base:allocation'))) +
        reply('0000000a', ACK) +
        reply('00000007', '00000003', info) +
        reply('00000007', '00000003', sizes) +
        reply('00000007', ACK),
    );
    assert.deepEqual(chosen, { name: 'sda', structured: true, allocation: true, hashes: true, compression: true });
  });

  it('does without all of them', () => {
    const { answer, chosen } = encrypted(option('00000007', bytes(text('vdb'), '0000')));
    assert.equal(answer, reply('00000007', '00000003', '0000 0000000000000400 0103') + reply('00000007', ACK));
    assert.deepEqual(chosen, {
      name: 'vdb',
      structured: false,
      allocation: false,
      hashes: false,
      compression: false,
    });
  });

  it('forgets the allocation that was set for another export', () => {
    const { chosen } = encrypted(
      option('00000008'),
      option('0000000a', bytes(text('vdb'), '00000001', text('base:allocation'))),
      option('00000007', bytes(text('sda'), '0000')),
    );
    assert.equal(chosen?.allocation, false);
  });

  it('serves the old EXPORT_NAME, with and without zeroes', () => {
    const { answer } = encrypted(option('00000001', Buffer.from('vdb')));
    assert.equal(answer, '00000000000004000103');
    assert.match(encrypted(option('00000001', Buffer.from('nope'))).fault, /unknown export/);
  });

  const answers: [string, Buffer, string, string][] = [
    ['STARTTLS again', STARTTLS, '00000005', '80000003'],
    ['LIST with a payload', option('00000003', '00'), '00000003', '80000003'],
    ['an unknown export', option('00000007', bytes(text('nope'), '0000')), '00000007', '80000006'],
    ['an export name that is a path', option('00000007', bytes(text('../sda'), '0000')), '00000007', '80000006'],
    ['a name longer than its option', option('00000007', '00000fff 736461 0000'), '00000007', '80000003'],
    ['a name of 4 GiB', option('00000007', 'ffffffff 736461 0000'), '00000007', '80000003'],
    ['more information types than sent', option('00000007', bytes(text('sda'), '0002 0003')), '00000007', '80000003'],
    ['GO without a payload', option('00000007'), '00000007', '80000003'],
    ['contexts before structured replies', option('0000000a', bytes(text('sda'), '00000000')), '0000000a', '80000003'],
    ['hashes before structured replies', option('52480001'), '52480001', '80000003'],
    ['compression before hashes', option('52480002'), '52480002', '80000003'],
    ['an unknown option', option('0000abcd', 'ffff'), '0000abcd', '80000001'],
  ];
  for (const [name, message, number, type] of answers) {
    it(`answers ${name} with its error, and goes on`, () => {
      const { answer, fault } = encrypted(message, option('00000002'));
      assert.equal(fault, '');
      assert.equal(answer, reply(number, type) + reply('00000002', ACK));
    });
  }

  it('answers malformed contexts and unknown ones', () => {
    const meta = (payload: Buffer): string =>
      encrypted(option('00000008'), option('0000000a', payload), option('00000002')).answer;
    const structured = reply('00000008', ACK);
    const end = reply('00000002', ACK);
    const invalid = structured + reply('0000000a', '80000003') + end;
    assert.equal(meta(bytes(text('sda'), '00000002', text('base:allocation'))), invalid);
    assert.equal(meta(bytes(text('sda'), 'ffffffff')), invalid);
    assert.equal(meta(bytes(text('sda'), '00000001 00002000')), invalid);
    assert.equal(meta(bytes(text('nope'), '00000000')), structured + reply('0000000a', '80000006') + end);
    assert.equal(meta(bytes(text('sda'), '00000001', text('qemu:dirty'))), structured + reply('0000000a', ACK) + end);
  });

  it('survives random options without a choice that was not made', () => {
    let state = 7;
    const random = (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    for (let round = 0; round < 150; round++) {
      const numbers = ['00000003', '00000006', '00000007', '00000008', '0000000a', '00000009', '52480001', '52480002'];
      const script = Array.from({ length: 1 + random(5) }, () => {
        const number = numbers[random(numbers.length)] ?? '00000003';
        const payload = Buffer.from(Array.from({ length: random(30) }, () => (random(3) === 0 ? random(256) : 0)));
        return option(number, payload);
      });
      const { chosen } = encrypted(...script, option('00000002'));
      assert.ok(chosen === undefined || offers.some(({ name }) => name === chosen.name));
    }
  });
});

describe('transmission', () => {
  const path = join(folder, 'disk');
  const content = Buffer.alloc(64 * 1024);
  for (let i = 0; i < 16 * 1024; i++) content[i] = (i * 7 + 1) % 251;
  content.fill(0, 4096, 8192);
  content.fill(0xee, 32 * 1024, 48 * 1024);
  writeFileSync(path, content);
  // 32 to 40 KiB are free although they hold garbage.
  const free = Float64Array.from([32 * 1024, 40 * 1024]);
  const lists = {
    sizeBytes: content.length,
    free: new Float64Array(new SharedArrayBuffer(16)),
    unknown: new Float64Array(new SharedArrayBuffer(16)),
  };
  lists.free.set(free);
  lists.unknown.set([48 * 1024, 64 * 1024]);
  const COOKIE = '1122334455667788';

  function request(type: string, offset: number, length: number, flags = '0000'): Buffer {
    const range = Buffer.alloc(12);
    range.writeBigUInt64BE(BigInt(offset));
    range.writeUInt32BE(length, 8);
    return bytes('25609513', flags, type, COOKIE, range);
  }

  function transmit(negotiated: Partial<Negotiated>, ...requests: Buffer[]): string {
    const client = new Client(bytes(...requests, request('0002', 0, 0)));
    const reader = new DiskReader(path, new AllocationMap(lists));
    try {
      new Transmission(
        client.io,
        reader,
        { name: 'sda', structured: false, allocation: false, hashes: false, compression: false, ...negotiated },
        () => {},
      ).run();
      return client.answer();
    } finally {
      reader.close();
      client.end();
    }
  }
  const hex = (start: number, end: number): string => content.subarray(start, end).toString('hex');
  const chunk = (flags: string, type: string, ...payload: (string | Buffer)[]): string => {
    const data = bytes(...payload);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(data.length);
    return bytes('668e33ef', flags, type, COOKIE, length, data).toString('hex');
  };

  it('answers simple READs of any alignment', () => {
    const head = `67446698 00000000 ${COOKIE}`.replaceAll(' ', '');
    assert.equal(transmit({}, request('0000', 0, 4096)), head + hex(0, 4096));
    assert.equal(transmit({}, request('0000', 4000, 777)), head + hex(4000, 4777));
    assert.equal(transmit({}, request('0000', 65535, 1)), head + hex(65535, 65536));
  });

  it('sends zero runs as holes', () => {
    const structured = { structured: true };
    assert.equal(
      transmit(structured, request('0000', 0, 16384)),
      chunk('0000', '0001', '0000000000000000', hex(0, 4096)) +
        chunk('0000', '0002', '0000000000001000', '00001000') +
        chunk('0001', '0001', '0000000000002000', hex(8192, 16384)),
    );
    assert.equal(
      transmit(structured, request('0000', 0, 16384, '0004')),
      chunk('0001', '0001', '0000000000000000', hex(0, 16384)),
      'but not when the client forbids fragments',
    );
    assert.equal(
      transmit(structured, request('0000', 48 * 1024, 8192)),
      chunk('0001', '0002', '000000000000c000', '00002000'),
    );
  });

  it('serves free blocks as the holes that it reported, whatever they hold', () => {
    assert.equal(
      transmit({ structured: true }, request('0000', 31 * 1024, 17 * 1024)),
      chunk('0000', '0002', '0000000000007c00', '00002400') +
        chunk('0001', '0001', '000000000000a000', hex(40 * 1024, 48 * 1024)),
    );
    const simple = transmit({}, request('0000', 39 * 1024, 2048));
    assert.equal(simple.slice(32), '00'.repeat(1024) + 'ee'.repeat(1024));
  });

  it('adds the hash of the range, holes as zeros, only when it was agreed on', () => {
    const answer = transmit({ structured: true, hashes: true }, request('0000', 48 * 1024, 4096));
    // XXH3-128 of 4096 zero bytes, by xxhsum -H2.
    const hash = '3ee8dc4f9e7ee49593d76fe148c689ba';
    assert.ok(answer.startsWith(chunk('0000', '0002', '000000000000c000', '00001000')));
    assert.equal(answer.slice(64), chunk('0001', '5248', '000000000000c000', '00001000', hash));
  });

  it('reports the status of blocks', () => {
    const all = { structured: true, allocation: true };
    assert.equal(
      transmit(all, request('0007', 0, 65536)),
      chunk(
        '0001',
        '0005',
        '00000001',
        '00008000 00000000',
        '00002000 00000003',
        '00002000 00000000',
        '00004000 00000003',
      ),
      'unknown areas are read, and their zeros reported',
    );
    assert.equal(
      transmit(all, request('0007', 0, 65536, '0008')),
      chunk('0001', '0005', '00000001', '00008000 00000000'),
    );
    assert.equal(
      transmit({ ...all, hashes: true }, request('0007', 40960, 24576)),
      chunk('0001', '0005', '00000001', '00006000 00000000'),
      'but not for a client that gets them as holes of READ anyway',
    );
  });

  it('refuses writing without losing the thread', () => {
    const answer = transmit(
      { structured: true },
      bytes(request('0001', 0, 512), Buffer.alloc(512, 0x25)),
      request('0000', 100, 1),
    );
    const message = Buffer.from('The export is read-only.');
    assert.equal(
      answer,
      chunk('0001', '8001', '00000001', '0018', message) + chunk('0001', '0001', '0000000000000064', hex(100, 101)),
    );
  });

  it('says where the disk cannot be read, and sends nothing in its place', () => {
    const short = join(folder, 'short');
    writeFileSync(short, content.subarray(0, 16384));
    const client = new Client(bytes(request('0000', 8192, 16384), request('0000', 0, 512), request('0002', 0, 0)));
    const reader = new DiskReader(short, new AllocationMap(lists));
    new Transmission(
      client.io,
      reader,
      { name: 'sda', structured: true, allocation: false, hashes: false, compression: false },
      () => {},
    ).run();
    const answer = client.answer();
    reader.close();
    client.end();
    const error = Buffer.from(answer, 'hex');
    assert.equal(error.readUInt16BE(6), 0x8002);
    assert.equal(error.readUInt32BE(20), 5, 'EIO');
    const length = error.readUInt16BE(24);
    assert.match(error.toString('utf8', 26, 26 + length), /ended early/);
    assert.equal(error.readBigUInt64BE(26 + length), 8192n);
    assert.equal(answer.slice((34 + length) * 2), chunk('0001', '0001', '0000000000000000', hex(0, 512)));
  });

  it('ends at a wrong magic', () => {
    assert.throws(() => transmit({}, Buffer.alloc(28, 0x11)), ClientFault);
  });
});
