/**
 * Looks into an initramfs as the kernel would unpack it: cpio archives one behind the other (microcode first, modules
 * that are compressed already next), zero padding between them, the last one usually compressed. Streaming: an image of
 * MODULES=most is some 300 MB unpacked, more than a transfer VM should need.
 */
import { spawn } from 'node:child_process';
import type { FileHandle } from 'node:fs/promises';
import { Duplex, PassThrough, Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { RehostError } from '../../../appliance/api/errors.ts';
import { TOOL_ENVIRONMENT } from '../run.ts';
import type { ConvertTool } from '../tools.ts';
import { CpioReader, type CpioVisitor } from './cpio.ts';

export interface InitramfsContent {
  /** Module names as modprobe knows them: underscores, no suffix. */
  modules: Set<string>;
  /** conf/conf.d: the settings that were built in, by file name. */
  settings: Map<string, string>;
  /** Every compression met, for the log. */
  compressions: string[];
}

/** More than this unpacked is no initramfs, bytes: a bound on what a hostile image can make us do. */
const UNPACKED_MAX_BYTES = 8 * 1024 ** 3;
const PIECE_BYTES = 256 * 1024;
const DECOMPRESS_TIMEOUT_MS = 10 * 60_000;

interface Compression {
  name: string;
  magic: readonly number[];
  open: () => Duplex;
}

/** Magic numbers: the kernel's lib/decompress.c, and zstd's RFC 8878. */
const COMPRESSIONS: readonly Compression[] = [
  { name: 'gzip', magic: [0x1f, 0x8b], open: () => createGunzip() },
  { name: 'zstd', magic: [0x28, 0xb5, 0x2f, 0xfd], open: () => createZstdDecompress() },
  { name: 'xz', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], open: () => byTool('xz') },
  { name: 'bzip2', magic: [0x42, 0x5a, 0x68], open: () => byTool('bzip2') },
  { name: 'lzma', magic: [0x5d, 0x00, 0x00], open: () => byTool('lzma') },
  // The "legacy" frame, which the kernel's build and initramfs-tools use.
  { name: 'lz4', magic: [0x02, 0x21, 0x4c, 0x18], open: () => byTool('lz4') },
];
/** "0707": the begin of every cpio header. */
const CPIO_MAGIC = [0x30, 0x37, 0x30, 0x37];
const MAGIC_BYTES = 6;

/** Reads an image from an open file, which stays open. Throws CONVERSION_FAILED when it is no initramfs. */
export async function readInitramfs(file: FileHandle): Promise<InitramfsContent> {
  const content: InitramfsContent = { modules: new Set(), settings: new Map(), compressions: [] };
  const { size } = await file.stat();
  let at = 0;
  while (at < size) {
    at = await skipZeros(file, at, size);
    if (at >= size) break;
    const magic = await readAt(file, at, MAGIC_BYTES);
    if (startsWith(magic, CPIO_MAGIC)) {
      at += await readPlain(file, at, content);
      continue;
    }
    const compression = COMPRESSIONS.find((candidate) => startsWith(magic, candidate.magic));
    if (!compression) {
      throw new RehostError('CONVERSION_FAILED', `The initramfs has unknown content at byte ${at}.`);
    }
    content.compressions.push(compression.name);
    await readCompressed(file, at, compression, content);
    // A compressed archive is the last one: what follows it is not told apart from its own padding by anyone.
    break;
  }
  return content;
}

function visitor(content: InitramfsContent): CpioVisitor {
  return {
    entry({ name, size }) {
      const module = /^([^/]+)\.ko(?:\.(?:xz|zst|gz))?$/.exec(name.slice(name.lastIndexOf('/') + 1))?.[1];
      if (module !== undefined && name.includes('lib/modules/')) content.modules.add(moduleName(module));
      return size > 0 && /^(?:\.\/)?conf\/conf\.d\/[^/]+$/.test(name);
    },
    content({ name }, bytes) {
      content.settings.set(name.replace(/^.*\//, ''), bytes.toString('latin1'));
    },
  };
}

/** modprobe takes dashes and underscores as the same (modprobe(8)). */
export function moduleName(name: string): string {
  return name.replaceAll('-', '_');
}

/** An uncompressed archive. Answers its length, bytes. */
async function readPlain(file: FileHandle, begin: number, content: InitramfsContent): Promise<number> {
  const reader = new CpioReader(visitor(content));
  let length = 0;
  for await (const piece of pieces(file, begin)) {
    length += reader.push(piece);
    if (reader.ended) return length;
  }
  if (!reader.atBoundary) throw truncated();
  return length;
}

async function readCompressed(
  file: FileHandle,
  begin: number,
  compression: Compression,
  content: InitramfsContent,
): Promise<void> {
  const stream = compression.open();
  const source = Readable.from(pieces(file, begin), { objectMode: false });
  // A broken stream must end the reader below as well, whichever side broke first.
  source.on('error', (error) => stream.destroy(error));
  source.pipe(stream);
  let reader = new CpioReader(visitor(content));
  let unpacked = 0;
  try {
    for await (const piece of stream as AsyncIterable<Buffer>) {
      unpacked += piece.length;
      if (unpacked > UNPACKED_MAX_BYTES) {
        throw new RehostError(
          'CONVERSION_FAILED',
          `The initramfs is larger than ${UNPACKED_MAX_BYTES} bytes unpacked.`,
        );
      }
      let rest = piece;
      while (rest.length > 0) {
        if (reader.ended) {
          // Several archives in one stream, each padded with zeros.
          rest = withoutLeadingZeros(rest);
          if (rest.length === 0) break;
          reader = new CpioReader(visitor(content));
        }
        rest = rest.subarray(reader.push(rest));
      }
    }
  } catch (cause) {
    if (cause instanceof RehostError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new RehostError('CONVERSION_FAILED', `The initramfs cannot be unpacked (${compression.name}): ${reason}`, {
      cause,
    });
  } finally {
    source.destroy();
    stream.destroy();
  }
  if (!reader.atBoundary) throw truncated();
}

/** A program of the transfer image as a decompressing stream; it dies with the stream. */
function byTool(tool: ConvertTool): Duplex {
  const child = spawn(tool, ['-d', '-c'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: TOOL_ENVIRONMENT,
    timeout: DECOMPRESS_TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  const output = new PassThrough();
  child.stdout.pipe(output, { end: false });
  child.on('error', (error) => output.destroy(error));
  child.on('close', (code) => {
    if (code === 0) output.end();
    else output.destroy(new Error(`${tool} ended with ${code ?? 'a signal'}`));
  });
  output.on('close', () => child.kill('SIGKILL'));
  // A tool that stops reading says why by its exit code, which 'close' above hands on.
  child.stdin.on('error', () => undefined);
  return Duplex.from({ writable: child.stdin, readable: output });
}

async function* pieces(file: FileHandle, begin: number): AsyncGenerator<Buffer> {
  for (let at = begin; ; ) {
    const buffer = Buffer.allocUnsafe(PIECE_BYTES);
    const { bytesRead } = await file.read(buffer, 0, PIECE_BYTES, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

async function skipZeros(file: FileHandle, begin: number, size: number): Promise<number> {
  let at = begin;
  for await (const piece of pieces(file, begin)) {
    const rest = withoutLeadingZeros(piece);
    at += piece.length - rest.length;
    if (rest.length > 0) return at;
  }
  return size;
}

function withoutLeadingZeros(piece: Buffer): Buffer {
  const first = piece.findIndex((byte) => byte !== 0);
  return first < 0 ? piece.subarray(piece.length) : piece.subarray(first);
}

async function readAt(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, at);
  return buffer.subarray(0, bytesRead);
}

function startsWith(bytes: Buffer, magic: readonly number[]): boolean {
  return magic.every((byte, index) => bytes[index] === byte);
}

function truncated(): RehostError {
  return new RehostError('CONVERSION_FAILED', 'The initramfs ends in the middle of an entry.');
}
