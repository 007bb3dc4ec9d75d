/**
 * The little of ELF that an image build needs: which libraries a program loads, the `.modinfo` of a kernel module, and
 * dropping what is never loaded. 64-bit little-endian only. Layout: System V ABI, chapters 4 and 5; elf(5).
 */
import { ImageError } from './errors.ts';

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const DT_NEEDED = 1;
const DT_STRTAB = 5;
const DT_RPATH = 15;
const DT_RUNPATH = 29;
const HEADER_BYTES = 64;
const E_SHOFF = 40;
const E_SHNUM = 60;
const E_SHSTRNDX = 62;

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly fileBytes: number;
}

/** What a program or library asks the loader for. */
export interface Dynamic {
  /** The loader's absolute path; null in a library. */
  readonly interpreter: string | null;
  readonly needed: readonly string[];
  /** DT_RUNPATH or DT_RPATH entries, `$ORIGIN` not yet replaced. */
  readonly searchPath: readonly string[];
}

/** Is this a 64-bit little-endian ELF file? */
export function isElf(data: Buffer): boolean {
  return data.length >= HEADER_BYTES && data.readUInt32BE(0) === 0x7f454c46 && data[4] === 2 && data[5] === 1;
}

/** Libraries and loader of an ELF file; empty for a static one. */
export function readDynamic(data: Buffer): Dynamic {
  const all = segments(data);
  const interp = all.find((segment) => segment.type === PT_INTERP);
  const dynamic = all.find((segment) => segment.type === PT_DYNAMIC);
  const interpreter = interp === undefined ? null : text(data, interp.offset);
  if (dynamic === undefined) return { interpreter, needed: [], searchPath: [] };
  const tags: { tag: number; value: number }[] = [];
  for (let at = dynamic.offset; at + 16 <= dynamic.offset + dynamic.fileBytes; at += 16) {
    const tag = Number(data.readBigInt64LE(at));
    if (tag === 0) break;
    tags.push({ tag, value: Number(data.readBigUInt64LE(at + 8)) });
  }
  const table = tags.find(({ tag }) => tag === DT_STRTAB);
  const holder = all.find(
    (segment) =>
      table !== undefined &&
      segment.type === PT_LOAD &&
      segment.address <= table.value &&
      table.value < segment.address + segment.fileBytes,
  );
  if (table === undefined || holder === undefined) throw broken('has a dynamic section without strings');
  const strings = table.value - holder.address + holder.offset;
  const named = (wanted: number): string[] =>
    tags.filter(({ tag }) => tag === wanted).map(({ value }) => text(data, strings + value));
  const paths = [...named(DT_RUNPATH), ...named(DT_RPATH)].flatMap((list) => list.split(':'));
  return { interpreter, needed: named(DT_NEEDED), searchPath: paths };
}

/** `key=value` strings of a kernel module's `.modinfo` section. */
export function readModuleInfo(data: Buffer): { key: string; value: string }[] {
  const section = findSection(data, '.modinfo');
  if (section === null) throw broken('has no .modinfo section');
  return section
    .toString('latin1')
    .split('\0')
    .filter((entry) => entry.includes('='))
    .map((entry) => ({ key: entry.slice(0, entry.indexOf('=')), value: entry.slice(entry.indexOf('=') + 1) }));
}

/**
 * The file without what the loader never maps: symbol tables, debug data and the section headers at its end.
 * Answers a copy; the program runs the same, and only debuggers miss what is gone.
 */
export function loadablePart(data: Buffer): Buffer {
  const programHeadersEnd = Number(data.readBigUInt64LE(32)) + data.readUInt16LE(54) * data.readUInt16LE(56);
  const end = segments(data).reduce((most, segment) => Math.max(most, segment.offset + segment.fileBytes), 0);
  const part = Buffer.from(data.subarray(0, Math.max(end, programHeadersEnd)));
  part.writeBigUInt64LE(0n, E_SHOFF);
  part.writeUInt16LE(0, E_SHNUM);
  part.writeUInt16LE(0, E_SHSTRNDX);
  return part;
}

function segments(data: Buffer): Segment[] {
  if (!isElf(data)) throw broken('is not a 64-bit little-endian ELF file');
  const start = Number(data.readBigUInt64LE(32));
  const size = data.readUInt16LE(54);
  return Array.from({ length: data.readUInt16LE(56) }, (_, index) => {
    const at = start + index * size;
    return {
      type: data.readUInt32LE(at),
      offset: Number(data.readBigUInt64LE(at + 8)),
      address: Number(data.readBigUInt64LE(at + 16)),
      fileBytes: Number(data.readBigUInt64LE(at + 32)),
    };
  });
}

function findSection(data: Buffer, name: string): Buffer | null {
  if (!isElf(data)) throw broken('is not a 64-bit little-endian ELF file');
  const start = Number(data.readBigUInt64LE(E_SHOFF));
  const size = data.readUInt16LE(58);
  const range = (index: number): { name: number; from: number; bytes: number } => {
    const at = start + index * size;
    return {
      name: data.readUInt32LE(at),
      from: Number(data.readBigUInt64LE(at + 24)),
      bytes: Number(data.readBigUInt64LE(at + 32)),
    };
  };
  const names = range(data.readUInt16LE(E_SHSTRNDX));
  for (let index = 0; index < data.readUInt16LE(E_SHNUM); index++) {
    const section = range(index);
    if (text(data, names.from + section.name) === name)
      return data.subarray(section.from, section.from + section.bytes);
  }
  return null;
}

function text(data: Buffer, at: number): string {
  const end = data.indexOf(0, at);
  if (end === -1) throw broken('has a string without an end');
  return data.toString('latin1', at, end);
}

function broken(what: string): ImageError {
  return new ImageError(`A file of the packages ${what}.`, 'Remove the cache folder and build again.');
}
