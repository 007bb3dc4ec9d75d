/** What the transfer tests share: images, servers and agents on loopback, copies, and independent ways to compare. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DataPsk } from '../../../appliance/api/psk.ts';
import { attachLoop, type LoopDevice } from '../../contract/target/loop-device.ts';

export const MIB = 1024 * 1024;
export const TOKEN = Buffer.alloc(32, 0x42);
export const JOB = 'job0001';

/** A folder and everything that was made for one test file; `clean` undoes all of it, the last thing first. */
export class Lab {
  readonly folder = mkdtempSync(join(tmpdir(), 'rehost-transfer-'));
  readonly #undo: (() => void | Promise<void>)[] = [];
  #serial = 0;

  /** To be undone at the end. */
  later(undo: () => void | Promise<void>): void {
    this.#undo.push(undo);
  }

  async clean(): Promise<void> {
    for (const undo of this.#undo.reverse()) await undo();
    this.#undo.length = 0;
    rmSync(this.folder, { recursive: true, force: true });
  }

  path(name: string): string {
    return join(this.folder, `${this.#serial++}-${name}`);
  }

  /** An empty, sparse file. */
  file(bytes: number, name = 'file'): string {
    const path = this.path(name);
    const fd = openSync(path, 'w');
    ftruncateSync(fd, bytes);
    closeSync(fd);
    return path;
  }

  /** A file full of random bytes. */
  random(bytes: number): string {
    const path = this.path('random');
    const fd = openSync(path, 'w');
    const buffer = Buffer.alloc(MIB);
    for (let done = 0; done < bytes; done += buffer.length) {
      writeSync(fd, randomFillSync(buffer), 0, Math.min(buffer.length, bytes - done));
    }
    closeSync(fd);
    return path;
  }

  /** A file full of 0xdb, like a volume that somebody used before. */
  garbage(bytes: number): string {
    const path = this.path('garbage');
    const fd = openSync(path, 'w');
    const buffer = Buffer.alloc(MIB, 0xdb);
    for (let done = 0; done < bytes; done += buffer.length)
      writeSync(fd, buffer, 0, Math.min(buffer.length, bytes - done));
    closeSync(fd);
    return path;
  }

  loop(file: string, sectorBytes = 512): LoopDevice {
    const device = attachLoop(file, sectorBytes);
    this.later(() => device.detach());
    return device;
  }

  /** An ext4 file system with half of its files deleted, whose free blocks hold what they held before. */
  ext4(bytes: number, options: string[] = []): { path: string; tree: string } {
    const path = this.garbage(bytes);
    const tree = this.path('tree');
    mkdirSync(tree);
    for (let i = 0; i < 60; i++) {
      const content = i % 5 === 0 ? Buffer.alloc(500_000) : randomFillSync(Buffer.alloc(1000 + i * 5000));
      writeFileSync(join(tree, `file-${i}`), content);
    }
    // discard would empty the free blocks: they are to hold garbage.
    execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', '-E', 'nodiscard', '-d', tree, ...options, path], {
      stdio: 'ignore',
    });
    const script = this.path('debugfs');
    writeFileSync(script, Array.from({ length: 30 }, (_, i) => `rm file-${2 * i}`).join('\n'));
    execFileSync('debugfs', ['-w', '-f', script, path], { stdio: 'ignore' });
    return { path, tree };
  }

  /** The key file of GnuTLS programs, in a folder of its own under the name that qemu expects. */
  keyFile(psk: DataPsk): string {
    const folder = this.path('keys');
    mkdirSync(folder);
    writeFileSync(join(folder, 'keys.psk'), `${psk.identity}:${psk.key.toString('hex')}\n`, { mode: 0o600 });
    return folder;
  }

  /** Starts a program that serves until the end of the test file. What it says of the failures that tests provoke is left out. */
  start(command: string, args: string[]): ChildProcess {
    const child = spawn(command, args, { stdio: 'ignore' });
    this.later(() => kill(child));
    return child;
  }
}

/** SIGKILL, and wait for the end. */
export async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

/** Waits until `ready`, at most `seconds`. */
export async function until(what: string, ready: () => boolean, seconds = 60): Promise<void> {
  const end = performance.now() + seconds * 1000;
  while (!ready()) {
    if (performance.now() > end) throw new Error(`Not within ${seconds} s: ${what}`);
    await sleep(5);
  }
}

/** Reads a range of a file or device. */
export function contentOf(path: string, offset: number, length: number): Buffer {
  const fd = openSync(path, 'r');
  const buffer = Buffer.alloc(length);
  try {
    let done = 0;
    while (done < length) {
      const got = readSync(fd, buffer, done, length - done, offset + done);
      if (got === 0) throw new Error(`${path} ends before ${offset + length}`);
      done += got;
    }
  } finally {
    closeSync(fd);
  }
  return buffer;
}

/** Writes a few bytes of a file or device. */
export function patch(path: string, offset: number, bytes: Buffer): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}

/** Is the whole content the same? `cmp` is the independent reader. */
export function same(a: string, b: string): boolean {
  try {
    execFileSync('cmp', ['--silent', a, b]);
    return true;
  } catch {
    return false;
  }
}

/** Is every byte zero? */
export function isZeros(bytes: Buffer): boolean {
  return bytes.length === 0 || (bytes[0] === 0 && bytes.subarray(1).equals(bytes.subarray(0, -1)));
}

/** Ranges in use of an ext4 image by dumpe2fs, bytes. */
export function usedByDumpe2fs(path: string): [number, number][] {
  const text = execFileSync('dumpe2fs', [path], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    maxBuffer: 1 << 28,
  });
  const blockBytes = Number(/^Block size:\s+(\d+)/m.exec(text)?.[1]);
  const blocks = Number(/^Block count:\s+(\d+)/m.exec(text)?.[1]);
  const used: [number, number][] = [];
  let at = 0;
  for (const line of text.matchAll(/^ {2}Free blocks: (.*)$/gm)) {
    for (const part of (line[1] ?? '').split(', ').filter((one) => one !== '')) {
      const [from = '', to = from] = part.split('-');
      if (Number(from) > at) used.push([at * blockBytes, Number(from) * blockBytes]);
      at = Number(to) + 1;
    }
  }
  if (at < blocks) used.push([at * blockBytes, blocks * blockBytes]);
  return used;
}

/** A port that was free a moment ago, for programs that cannot choose one themselves. */
export async function freePort(): Promise<number> {
  const { createServer } = await import('node:net');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** Waits until somebody listens on a port of loopback. */
export async function listening(port: number): Promise<void> {
  const { connect } = await import('node:net');
  for (let i = 0; i < 300; i++) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      socket.once('connect', () => {
        socket.destroy();
        resolve(true);
      });
      socket.once('error', () => resolve(false));
    });
    if (open) return;
    await sleep(50);
  }
  throw new Error(`Nobody listens on port ${port}.`);
}
