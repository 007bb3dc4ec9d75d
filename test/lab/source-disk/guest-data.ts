/** The source's payload under /srv/data: many files of odd kinds with a manifest for `sha256sum -c`, the same in every build. */
import { createCipheriv, createHash } from 'node:crypto';
import { link, mkdir, open, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** Where the data stands in the guest. */
export const DATA_DIR = '/srv/data';
export const MANIFEST = `${DATA_DIR}/MANIFEST.sha256`;
/** Pseudo-random bytes in files, bytes. */
const PAYLOAD_BYTES = 1024 ** 3;
const KIB = 1024;
const MIB = 1024 * KIB;
const PIECE_BYTES = MIB;

/** AES-CTR over zeros: fast, incompressible, and the same for the same seed on every machine. */
class RandomStream {
  readonly #cipher;

  constructor(seed: string) {
    const key = createHash('sha256').update(seed).digest();
    this.#cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
  }

  bytes(count: number): Buffer {
    return this.#cipher.update(Buffer.alloc(count));
  }

  /** An integer in [from, to). */
  between(from: number, to: number): number {
    return from + (this.bytes(4).readUInt32LE(0) % (to - from));
  }
}

/** One file's content: pieces to write at offsets, and its full length (what is not written is a hole), bytes. */
interface Content {
  length: number;
  pieces: Iterable<{ offset: number; data: Buffer }>;
}

function* randomPieces(stream: RandomStream, length: number): Generator<{ offset: number; data: Buffer }> {
  for (let offset = 0; offset < length; offset += PIECE_BYTES)
    yield { offset, data: stream.bytes(Math.min(PIECE_BYTES, length - offset)) };
}

function* zeroPieces(length: number): Generator<{ offset: number; data: Buffer }> {
  const data = Buffer.alloc(PIECE_BYTES);
  for (let offset = 0; offset < length; offset += PIECE_BYTES)
    yield { offset, data: data.subarray(0, length - offset) };
}

/** A database-like sparse file: 4 KiB islands, 8 MiB apart. */
function* islands(stream: RandomStream, length: number): Generator<{ offset: number; data: Buffer }> {
  for (let offset = 3 * 4096; offset < length; offset += 8 * MIB) yield { offset, data: stream.bytes(4096) };
}

/** Writes the files under `root` and the manifest. Answers the manifest's SHA-256, hex. */
export async function writeGuestData(root: string): Promise<string> {
  const lines: string[] = [];
  const add = async (name: string, content: Content): Promise<string> => {
    const hash = await writeContent(join(root, DATA_DIR, name), content);
    lines.push(manifestLine(hash, name));
    return hash;
  };
  const stream = new RandomStream('rehost source data');
  const random = (length: number): Content => ({ length, pieces: randomPieces(stream, length) });

  let written = 0;
  const addRandom = async (name: string, length: number): Promise<string> => {
    written += length;
    return await add(name, random(length));
  };
  for (let i = 0; i < 480; i++) await addRandom(`mail/${i % 24}/${i}.eml`, stream.between(0, 64 * KIB));
  for (let i = 0; i < 160; i++) await addRandom(`documents/${i}.bin`, stream.between(64 * KIB, 2 * MIB));
  const table = await addRandom('tables/orders.ibd', 96 * MIB);
  for (let i = 0; written < PAYLOAD_BYTES; i++)
    await addRandom(`tables/${i}.ibd`, Math.min(stream.between(4 * MIB, 48 * MIB), PAYLOAD_BYTES - written));

  for (const name of ODD_NAMES) await add(name, random(stream.between(1, 16 * KIB)));
  await add('sparse.img', { length: 256 * MIB, pieces: islands(stream, 256 * MIB) });
  await add('hole.img', { length: 64 * MIB, pieces: [] });
  await add('zeros.img', { length: 32 * MIB, pieces: zeroPieces(32 * MIB) });
  await add('empty', { length: 0, pieces: [] });

  // A hard link and symlinks, relative and absolute: sha256sum follows them.
  await link(join(root, DATA_DIR, 'tables/orders.ibd'), join(root, DATA_DIR, 'orders.hard'));
  await symlink('tables/orders.ibd', join(root, DATA_DIR, 'orders.relative'));
  await symlink(`${DATA_DIR}/tables/orders.ibd`, join(root, DATA_DIR, 'orders.absolute'));
  for (const name of ['orders.hard', 'orders.relative', 'orders.absolute']) lines.push(manifestLine(table, name));

  const manifest = lines.join('');
  await writeFile(join(root, MANIFEST), manifest);
  return createHash('sha256').update(manifest).digest('hex');
}

const ODD_NAMES = [
  'odd/with space',
  'odd/-dash',
  'odd/quote\'"`$(id)',
  'odd/été-日本語-🗄',
  'odd/back\\slash',
  'odd/new\nline',
  `odd/${'long'.repeat(60)}`,
  `odd/${Array.from({ length: 20 }, (_, depth) => `d${depth}`).join('/')}/deep`,
];

/** A line as sha256sum writes it: a name with a newline or a backslash is escaped and the line begins with a backslash. */
export function manifestLine(hash: string, name: string): string {
  const escaped = name.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
  return `${escaped === name ? '' : '\\'}${hash}  ${escaped}\n`;
}

async function writeContent(path: string, content: Content): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  const hash = createHash('sha256');
  const file = await open(path, 'wx');
  try {
    let hashed = 0;
    for (const { offset, data } of content.pieces) {
      hashZeros(hash, offset - hashed);
      hash.update(data);
      hashed = offset + data.length;
      await writeAll(file, data, offset);
    }
    hashZeros(hash, content.length - hashed);
    await file.truncate(content.length);
  } finally {
    await file.close();
  }
  return hash.digest('hex');
}

async function writeAll(file: Awaited<ReturnType<typeof open>>, data: Buffer, offset: number): Promise<void> {
  for (let done = 0; done < data.length; ) {
    const { bytesWritten } = await file.write(data, done, data.length - done, offset + done);
    done += bytesWritten;
  }
}

const ZEROS = Buffer.alloc(PIECE_BYTES);

function hashZeros(hash: ReturnType<typeof createHash>, length: number): void {
  for (let left = length; left > 0; left -= PIECE_BYTES) hash.update(ZEROS.subarray(0, Math.min(left, PIECE_BYTES)));
}
