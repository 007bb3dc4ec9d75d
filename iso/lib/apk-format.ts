/**
 * Alpine's package and index files: gzip members in a row, each a tar. A signature, then what is signed; in a package a
 * third one with the files, whose hash stands in the second. https://wiki.alpinelinux.org/wiki/Apk_spec
 */
import { createHash, createPublicKey, verify } from 'node:crypto';
import { gunzipSync, inflateRawSync } from 'node:zlib';
import { ImageError } from './errors.ts';

const GZIP_HEADER_BYTES = 10;
const GZIP_TRAILER_BYTES = 8;
/** RFC 1952, FLG: an extra field, a name, a comment, a checksum of the header. */
const FEXTRA = 4;
const FNAME = 8;
const FCOMMENT = 16;
const FHCRC = 2;
const TAR_BLOCK_BYTES = 512;

export interface PublicKey {
  /** The key's file name: signatures name it. */
  readonly name: string;
  readonly pem: string;
}

/** One package of an index. */
export interface IndexEntry {
  readonly name: string;
  readonly version: string;
  /** SHA-1 of the package's control member, base64. */
  readonly controlSha1: string;
}

/** The entries of a signed APKINDEX.tar.gz. Throws ImageError unless `key` signed it. */
export function readIndex(file: Buffer, key: PublicKey): IndexEntry[] {
  const [signature, signed] = members(file);
  if (signature === undefined || signed === undefined) throw refused('The index is not signed');
  checkSignature(signature, signed, key);
  const text = tarFiles(gunzipSync(signed)).get('APKINDEX')?.toString();
  if (text === undefined) throw refused('The index holds no list');
  return text.split('\n\n').flatMap((block) => {
    const fields = new Map(block.split('\n').map((line) => [line.slice(0, 2), line.slice(2)]));
    const [name, version, checksum] = [fields.get('P:'), fields.get('V:'), fields.get('C:')];
    if (name === undefined || version === undefined || !checksum?.startsWith('Q1')) return [];
    return [{ name, version, controlSha1: checksum.slice(2) }];
  });
}

/** One file of a package. Throws ImageError unless the package is the one that the signed index names, whole and unchanged. */
export function fileOfPackage(file: Buffer, entry: IndexEntry, path: string): Buffer {
  const [, control, data] = members(file);
  if (control === undefined || data === undefined) throw refused(`The package ${entry.name} is cut off`);
  if (createHash('sha1').update(control).digest('base64') !== entry.controlSha1) {
    throw refused(`The package ${entry.name} is not the one of the index`);
  }
  const info = tarFiles(gunzipSync(control)).get('.PKGINFO')?.toString() ?? '';
  const hash = /^datahash = ([0-9a-f]{64})$/m.exec(info)?.[1];
  if (createHash('sha256').update(data).digest('hex') !== hash) throw refused(`The package ${entry.name} is damaged`);
  const found = tarFiles(gunzipSync(data)).get(path);
  if (found === undefined) throw refused(`The package ${entry.name} holds no ${path}`);
  return found;
}

function checkSignature(member: Buffer, signed: Buffer, key: PublicKey): void {
  const signatures = tarFiles(gunzipSync(member));
  for (const [prefix, algorithm] of [
    ['.SIGN.RSA256.', 'sha256'],
    ['.SIGN.RSA.', 'sha1'],
  ] as const) {
    const signature = signatures.get(prefix + key.name);
    if (signature !== undefined && verify(algorithm, signed, createPublicKey(key.pem), signature)) return;
  }
  throw refused(`The index is not signed by ${key.name}`);
}

/** The bytes of each gzip member. `gunzip` would join them. */
function members(file: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at + GZIP_HEADER_BYTES < file.length; ) {
    const flags = file[at + 3] ?? 0;
    let body = at + GZIP_HEADER_BYTES;
    if (flags & FEXTRA) body += 2 + file.readUInt16LE(body);
    for (const flag of [FNAME, FCOMMENT]) if (flags & flag) body = file.indexOf(0, body) + 1;
    if (flags & FHCRC) body += 2;
    // With `info`, Node answers the engine too; it knows where the compressed data ended.
    const { engine } = inflateRawSync(file.subarray(body), { info: true }) as unknown as {
      engine: { bytesWritten: number };
    };
    const end = body + engine.bytesWritten + GZIP_TRAILER_BYTES;
    found.push(file.subarray(at, end));
    at = end;
  }
  return found;
}

/** Name -> content of a tar's regular files (POSIX ustar). Signature and control tars have no end-of-archive blocks. */
function tarFiles(tar: Buffer): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  for (let at = 0; at + TAR_BLOCK_BYTES <= tar.length; ) {
    const name = tar.toString('latin1', at, at + 100).replace(/\0.*$/s, '');
    if (name === '') break;
    const bytes = Number.parseInt(tar.toString('latin1', at + 124, at + 136), 8);
    if (!Number.isInteger(bytes)) throw refused('An archive is damaged');
    const start = at + TAR_BLOCK_BYTES;
    const type = String.fromCharCode(tar[at + 156] ?? 0);
    if (type === '0' || type === '\0') files.set(name, tar.subarray(start, start + bytes));
    at = start + Math.ceil(bytes / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES;
  }
  return files;
}

function refused(what: string): ImageError {
  return new ImageError(`${what}.`, 'Check the mirror and the key that were named for the alpine base.');
}
