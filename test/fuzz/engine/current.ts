/**
 * The input that a process is running, in a file: it outlives a process that is killed because it hangs, or that ended by a
 * signal. Number of the run (u32), length (u32), input.
 */
import { closeSync, existsSync, openSync, readFileSync, writeSync } from 'node:fs';

const HEAD = 8;

export class Current {
  readonly #fd: number;
  #run = 0;

  constructor(path: string) {
    this.#fd = openSync(path, 'w');
  }

  note(input: Uint8Array): void {
    const bytes = Buffer.alloc(HEAD + input.length);
    bytes.writeUInt32LE(++this.#run >>> 0, 0);
    bytes.writeUInt32LE(input.length, 4);
    bytes.set(input, HEAD);
    writeSync(this.#fd, bytes, 0, bytes.length, 0);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** What was noted last; undefined when nothing was. */
export function readCurrent(path: string): { run: number; input: Buffer } | undefined {
  if (!existsSync(path)) return undefined;
  const bytes = readFileSync(path);
  if (bytes.length < HEAD) return undefined;
  return { run: bytes.readUInt32LE(0), input: bytes.subarray(HEAD, HEAD + bytes.readUInt32LE(4)) };
}
