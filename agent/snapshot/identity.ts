/** How a disk is recognised after a reconnect or a restart: a disk that was replaced or resized gives another identity. */
import { createHash } from 'node:crypto';
import { readSync } from 'node:fs';

const HEAD_BYTES = 1024 * 1024;

/** SHA-256, hex, over serial, size and the first MiB (less where the disk ends before) of an open disk. Throws the read's own error. */
export function diskIdentity(fd: number, serial: string, sizeBytes: number): string {
  const head = Buffer.alloc(Math.min(HEAD_BYTES, sizeBytes));
  for (let at = 0; at < head.length; ) {
    const got = readSync(fd, head, at, head.length - at, at);
    if (got === 0) throw new Error(`the disk ended at byte ${at}`);
    at += got;
  }
  // A serial holds no newline: no two pairs of serial and size give the same text.
  return createHash('sha256').update(`${serial}\n${sizeBytes}\n`).update(head).digest('hex');
}
