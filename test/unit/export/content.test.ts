/** The content of READs, chunk by chunk, taken apart by other means than the receiver's. */
import assert from 'node:assert/strict';
import { closeSync, copyFileSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';
import koffi from 'koffi';
import { AllocationMap } from '../../../agent/export/allocation/map.ts';
import { Content } from '../../../agent/export/content.ts';
import { MessageIo } from '../../../agent/export/io.ts';
import { DiskReader, ReadFault } from '../../../agent/export/reader.ts';
import { Memory } from '../../../native/memory.ts';
import type { ByteStream } from '../../../native/stream.ts';
import { xxh3At } from '../../../native/xxhash.ts';
import { randomFrom } from '../copy/random.ts';

const folder = mkdtempSync(join(tmpdir(), 'rehost-content-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const KIB = 1024;
const MIB = 1024 * KIB;
const BLOCK = 4 * MIB;
const STEP = 256 * KIB;
const [DATA, HOLE, HASH, ZSTD] = [1, 2, 0x5248, 0x5249];

/** Keeps what is written to it. Writing takes `nsPerByte`, as a slow link would. */
class Recorder implements ByteStream {
  readonly fd = -1;
  readonly wireIn = 0;
  wireOut = 0;
  #parts: Buffer[] = [];
  readonly #nsPerByte: number;

  constructor(nsPerByte: number) {
    this.#nsPerByte = nsPerByte;
  }

  write(address: number, length: number): void {
    const end = performance.now() + (length * this.#nsPerByte) / 1e6;
    this.#parts.push(Buffer.from(new Uint8Array(koffi.view(BigInt(address), length))));
    this.wireOut += length;
    while (performance.now() < end);
  }

  /** What was written since the last time. */
  taken(): Buffer {
    return Buffer.concat(this.#parts.splice(0));
  }

  readExact(): never {
    throw new Error('nothing is read');
  }

  flush(): void {}

  close(): void {}
}

interface Chunk {
  flags: number;
  type: number;
  offset: number;
  /** Of content. */
  length: number;
  payload: Buffer;
}

function chunksOf(bytes: Buffer): Chunk[] {
  const chunks: Chunk[] = [];
  for (let at = 0; at < bytes.length; ) {
    assert.equal(bytes.readUInt32BE(at), 0x668e33ef);
    assert.equal(bytes.readBigUInt64BE(at + 8), 77n);
    const type = bytes.readUInt16BE(at + 6);
    const size = bytes.readUInt32BE(at + 16);
    const body = bytes.subarray(at + 20, at + 20 + size);
    assert.equal(body.length, size);
    const payload = body.subarray(type === DATA ? 8 : 12);
    const length = type === DATA ? payload.length : body.readUInt32BE(8);
    chunks.push({
      flags: bytes.readUInt16BE(at + 4),
      type,
      offset: Number(body.readBigUInt64BE(0)),
      length,
      payload,
    });
    at += 20 + size;
  }
  return chunks;
}

function hashOf(bytes: Buffer): Buffer {
  const memory = new Memory(bytes.length);
  const into = Buffer.alloc(16);
  memory.bytes.set(bytes);
  xxh3At(memory.address, bytes.length, new DataView(into.buffer, into.byteOffset), 0);
  memory.free();
  return into;
}

/** Puts a reply together and checks its form: in order, gapless, each hole told once, the last chunk and only it marked. */
function assemble(chunks: readonly Chunk[], offset: number, length: number): Buffer {
  const content = Buffer.alloc(length, 0xcc);
  let at = offset;
  let before = 0;
  for (const chunk of chunks) {
    assert.equal(chunk.flags, chunk === chunks.at(-1) ? 1 : 0);
    if (chunk.type === HASH) {
      assert.equal(chunk, chunks.at(-1));
      assert.deepEqual([chunk.offset, chunk.length], [offset, length]);
      continue;
    }
    assert.equal(chunk.offset, at);
    assert.ok(chunk.length > 0 && (chunk.type === HOLE || chunk.length <= STEP));
    assert.ok(chunk.type !== HOLE || before !== HOLE, 'neighbouring holes are one');
    if (chunk.type === HOLE) content.fill(0, at - offset, at - offset + chunk.length);
    else {
      const data = chunk.type === ZSTD ? zstdDecompressSync(chunk.payload) : chunk.payload;
      assert.equal(data.length, chunk.length);
      if (chunk.type === ZSTD) assert.ok(chunk.payload.length < chunk.length);
      data.copy(content, at - offset);
    }
    at += chunk.length;
    before = chunk.type;
  }
  assert.equal(at, offset + length);
  return content;
}

interface Side {
  content: Content;
  io: MessageIo;
  stream: Recorder;
  reader: DiskReader;
}

/** Runs with the content of a file; `free` are pairs of its free ranges. */
function using<T>(
  path: string,
  agreed: { hashes: boolean; compression: boolean },
  run: (side: Side) => T,
  { free = [], nsPerByte = 0 }: { free?: number[]; nsPerByte?: number } = {},
): T {
  const stream = new Recorder(nsPerByte);
  const io = new MessageIo(stream);
  const lists = {
    sizeBytes: 2 * BLOCK,
    free: new Float64Array(new SharedArrayBuffer(8 * free.length)),
    unknown: new Float64Array(new SharedArrayBuffer(0)),
  };
  lists.free.set(free);
  const reader = new DiskReader(path, new AllocationMap(lists));
  const content = new Content(io, reader, agreed);
  try {
    return run({ content, io, stream, reader });
  } finally {
    content.free();
    reader.close();
    io.close();
  }
}

/** A disk of two blocks with random stretches of zeros, text and noise. */
function diskOf(seed: number, name: string): { path: string; bytes: Buffer } {
  const random = randomFrom(seed);
  const bytes = Buffer.alloc(2 * BLOCK);
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(bytes.length, at + 512 * (1 + random(random(3) === 0 ? 2000 : 40)));
    const kind = random(3);
    if (kind === 1) bytes.fill('the same words again, ', at, end);
    if (kind === 2) for (let i = at; i < end; i++) bytes[i] = random(256);
    at = end;
  }
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return { path, bytes };
}

const plain = { hashes: false, compression: false };
const hashed = { hashes: true, compression: false };
const both = { hashes: true, compression: true };

describe('the content of a READ', () => {
  it('is what the disk holds, at any offset and length, with the hash of it', () => {
    for (let seed = 1; seed <= 12; seed++) {
      const { path, bytes } = diskOf(seed, `random-${seed}`);
      const random = randomFrom(seed);
      for (const agreed of [plain, hashed, both]) {
        using(path, agreed, ({ content, stream }) => {
          for (let round = 0; round < 4; round++) {
            const offset = round === 0 ? BLOCK : random(BLOCK);
            const length = round === 0 ? BLOCK : 1 + random(BLOCK);
            content.send(77n, offset, length);
            const chunks = chunksOf(stream.taken());
            const expected = bytes.subarray(offset, offset + length);
            assert.ok(assemble(chunks, offset, length).equals(expected), `seed ${seed} at ${offset}`);
            const hash = chunks.at(-1);
            assert.equal(hash?.type === HASH, agreed.hashes);
            if (agreed.hashes) assert.deepEqual(hash?.payload, hashOf(expected));
          }
        });
      }
    }
  });

  it('tells one hole over the borders of steps', () => {
    const path = join(folder, 'hole');
    const bytes = Buffer.alloc(2 * BLOCK);
    bytes.fill(1, 0, 4096);
    bytes.fill(1, 3 * STEP + 8192, 3 * STEP + 12288);
    writeFileSync(path, bytes);
    using(path, hashed, ({ content, stream }) => {
      content.send(77n, 0, BLOCK);
      assert.deepEqual(
        chunksOf(stream.taken()).map(({ type, offset, length }) => [type, offset, length]),
        [
          [DATA, 0, 4096],
          [HOLE, 4096, 3 * STEP + 4096],
          [DATA, 3 * STEP + 8192, 4096],
          [HOLE, 3 * STEP + 12288, BLOCK - 3 * STEP - 12288],
          [HASH, 0, BLOCK],
        ],
      );
      content.send(77n, BLOCK, BLOCK);
      assert.deepEqual(
        chunksOf(stream.taken()).map(({ type, length }) => [type, length]),
        [
          [HOLE, BLOCK],
          [HASH, BLOCK],
        ],
      );
    });
  });

  it('has free ranges as zeros, also in its hash', () => {
    const { path, bytes } = diskOf(99, 'free');
    const free = [100 * KIB, 700 * KIB];
    using(
      path,
      hashed,
      ({ content, stream }) => {
        content.send(77n, 0, BLOCK);
        const expected = Buffer.from(bytes.subarray(0, BLOCK)).fill(0, 100 * KIB, 700 * KIB);
        const chunks = chunksOf(stream.taken());
        assert.ok(assemble(chunks, 0, BLOCK).equals(expected));
        assert.deepEqual(chunks.at(-1)?.payload, hashOf(expected));
        content.sendHash(77n, 0, BLOCK);
        assert.deepEqual(chunksOf(stream.taken())[0]?.payload, hashOf(expected));
      },
      { free },
    );
  });

  it('is compressed on a slow link where it shrinks, and only there', () => {
    const path = join(folder, 'text');
    const bytes = Buffer.alloc(2 * BLOCK, 'a line of a log, much like the one before it\n');
    const random = randomFrom(5);
    for (let i = BLOCK; i < 2 * BLOCK; i++) bytes[i] = random(256);
    writeFileSync(path, bytes);
    using(
      path,
      both,
      ({ content, stream }) => {
        // The first block teaches what the link costs and what compression brings.
        for (let i = 0; i < 3; i++) content.send(77n, 0, BLOCK);
        stream.taken();
        const before = stream.wireOut;
        content.send(77n, 0, BLOCK);
        const chunks = chunksOf(stream.taken());
        assert.ok(assemble(chunks, 0, BLOCK).equals(bytes.subarray(0, BLOCK)));
        assert.equal(chunks.filter(({ type }) => type === ZSTD).length, BLOCK / STEP);
        assert.ok(stream.wireOut - before < BLOCK / 10);
        for (let i = 0; i < 3; i++) content.send(77n, BLOCK, BLOCK);
        stream.taken();
        content.send(77n, BLOCK, BLOCK);
        const noise = chunksOf(stream.taken());
        assert.ok(assemble(noise, BLOCK, BLOCK).equals(bytes.subarray(BLOCK)));
        assert.ok(noise.every(({ type }) => type !== ZSTD));
      },
      { nsPerByte: 20 },
    );
  });

  it('that cannot be read to its end leaves the next answer as it should be', () => {
    const { path, bytes } = diskOf(7, 'whole');
    const short = join(folder, 'short');
    copyFileSync(path, short);
    const fd = openSync(short, 'r+');
    ftruncateSync(fd, BLOCK + STEP);
    closeSync(fd);
    using(short, hashed, ({ content, stream }) => {
      const expected = hashOf(bytes.subarray(4096, 4096 + 2 * STEP));
      for (const fail of [() => content.send(77n, BLOCK, BLOCK), () => content.sendHash(77n, BLOCK, BLOCK)]) {
        assert.throws(fail, (error) => error instanceof ReadFault && error.offset === BLOCK + STEP);
        stream.taken();
        content.send(77n, 4096, 2 * STEP);
        assert.deepEqual(chunksOf(stream.taken()).at(-1)?.payload, expected);
        assert.throws(fail, ReadFault);
        stream.taken();
        content.sendHash(77n, 4096, 2 * STEP);
        assert.deepEqual(chunksOf(stream.taken())[0]?.payload, expected);
      }
    });
  });
});
