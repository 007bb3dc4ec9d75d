/** Whole volumes through streams. Blocking for as long as the copy takes: run in a connection process of their own. */
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { close, open } from './connect.ts';
import type { ConnectPtr } from './library.ts';
import { download, upload } from './storage.ts';
import { recv, recvSparse, STREAM_CHUNK_BYTES, send, sendHole, withStream } from './stream.ts';

/** virStorageVolUploadFlags and virStorageVolDownloadFlags have the same value for it. */
const SPARSE_STREAM = 1;

export interface UploadResult {
  bytes: number;
  /** SHA-256, hex, of what was read from the file. */
  sentSha256: string;
  /** SHA-256, hex, of what the volume's first `bytes` bytes held when they were read back. */
  storedSha256: string;
}

/** Writes a local file to a volume from its first byte, then reads it back. The caller compares the hashes. */
export function uploadFile(conn: ConnectPtr, pool: string, name: string, path: string): UploadResult {
  const file = openSync(path, 'r');
  try {
    const bytes = fstatSync(file).size;
    if (bytes === 0) return { bytes, sentSha256: '', storedSha256: '' };
    const sentSha256 = sendFile(conn, pool, name, file, bytes);
    return { bytes, sentSha256, storedSha256: hashVolume(conn, pool, name, bytes) };
  } finally {
    closeSync(file);
  }
}

function sendFile(conn: ConnectPtr, pool: string, name: string, file: number, bytes: number): string {
  const hash = createHash('sha256');
  const buffer = new Uint8Array(STREAM_CHUNK_BYTES);
  withStream(conn, (stream) => {
    upload(conn, pool, name, stream, bytes, 0);
    for (let sent = 0; sent < bytes; ) {
      const got = readSync(file, buffer, 0, Math.min(buffer.length, bytes - sent), sent);
      if (got === 0) throw new Error(`the file became shorter while it was read: ${sent} of ${bytes} bytes`);
      const piece = buffer.subarray(0, got);
      hash.update(piece);
      send(stream, piece);
      sent += got;
    }
  });
  return hash.digest('hex');
}

/** SHA-256, hex, of a volume's first `bytes` bytes as the host stores them, whatever its format. */
function hashVolume(conn: ConnectPtr, pool: string, name: string, bytes: number): string {
  const hash = createHash('sha256');
  const buffer = new Uint8Array(STREAM_CHUNK_BYTES);
  withStream(conn, (stream) => {
    download(conn, pool, name, stream, bytes, 0);
    for (let got = recv(stream, buffer); got > 0; got = recv(stream, buffer)) hash.update(buffer.subarray(0, got));
  });
  return hash.digest('hex');
}

/**
 * Copies the stored bytes of one volume to another through this process, holes kept, without anybody looking at the format of
 * the content. Reads on a second connection, so that the two directions do not queue into each other without bound.
 */
export function copyStored(
  conn: ConnectPtr,
  uri: string,
  from: { pool: string; name: string },
  to: { pool: string; name: string },
): void {
  const reading = open(uri);
  try {
    withStream(reading, (source) => {
      download(reading, from.pool, from.name, source, 0, SPARSE_STREAM);
      withStream(conn, (target) => {
        upload(conn, to.pool, to.name, target, 0, SPARSE_STREAM);
        const buffer = new Uint8Array(STREAM_CHUNK_BYTES);
        for (;;) {
          const { data, hole } = recvSparse(source, buffer);
          if (data > 0) send(target, buffer.subarray(0, data));
          else if (hole > 0) sendHole(target, hole);
          else return;
        }
      });
    });
  } finally {
    close(reading);
  }
}
