/** The machine's consoles: what is said appears on every one of them, a screen and a serial line alike. */
import { constants, createWriteStream, existsSync, openSync, readFileSync, type WriteStream } from 'node:fs';

/** What a console that does not take its text may be behind before lines are left out for it, bytes. */
const BEHIND_MAX_BYTES = 64 * 1024;
// Never created, never this process's controlling terminal.
const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_NOCTTY;

/**
 * Paths of the consoles that exist, each once: what the kernel writes to, the first screen and the first serial line.
 * /dev/console is the last name of the kernel's list, and tty0 whichever screen is in front, which is the first one here.
 */
export function consolePaths(root: string): string[] {
  let active: string[];
  try {
    active = readFileSync(`${root}/sys/class/tty/console/active`, 'utf8').trim().split(/\s+/);
  } catch {
    // A container has no such list, only /dev/console.
    active = [];
  }
  const names = active.filter(Boolean).map((name) => (name === 'tty0' ? 'tty1' : name));
  const all = names.length > 0 ? [...names, 'tty1', 'ttyS0'] : ['console', 'tty1', 'ttyS0'];
  return [...new Set(all)].map((name) => `${root}/dev/${name}`).filter((path) => existsSync(path));
}

/** Writes the same text to all of them, without waiting for any: a serial line may be slow or have no hardware behind it. */
export class Consoles {
  readonly #streams = new Set<WriteStream>();

  /** Opens the paths, which must exist. */
  constructor(paths: readonly string[]) {
    for (const path of paths) {
      let fd: number;
      try {
        fd = openSync(path, APPEND);
      } catch {
        // A port that the kernel lists without hardware: the other consoles go on without it.
        continue;
      }
      const stream = createWriteStream(path, { fd });
      this.#streams.add(stream);
      // EIO, for the same reason, from drivers that say it only then.
      stream.on('error', () => this.#streams.delete(stream));
    }
  }

  write(text: string): void {
    for (const stream of this.#streams) if (stream.writableLength < BEHIND_MAX_BYTES) stream.write(text);
  }
}
