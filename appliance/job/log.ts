/** The files of one job below the state folder: its log, consoles and screenshot. */
import { appendFileSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** A guest decides what its console says and how much: of the last bytes so many are kept at least, and twice as many at most. */
const CONSOLE_MAX_BYTES = 8 * 1024 * 1024;

export class JobLog {
  readonly path: string;
  readonly #folder: string;
  readonly #warn: (text: string) => void;

  /** `jobId` is made by the orchestrator and holds letters and digits only. `warn` hears of a log that cannot be written. */
  constructor(stateDir: string, jobId: string, warn: (text: string) => void) {
    this.#folder = join(stateDir, 'jobs', jobId);
    this.path = join(this.#folder, 'log.txt');
    this.#warn = warn;
  }

  /** One line with the time, UTC. */
  line(text: string): void {
    this.#append(this.path, `${new Date().toISOString()} ${text.replace(/\s*\n\s*/g, ' ')}\n`);
  }

  /** What an error says, as a line. */
  error(what: string, error: unknown): void {
    this.line(`${what}: ${error instanceof Error ? error.message : String(error)}`);
  }

  /** Raw bytes of a VM's serial console. What came long before lies beside it in `NAME.console.1`, or is gone. */
  console(name: string, bytes: Buffer): void {
    const path = join(this.#folder, `${name}.console`);
    const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    if (size + bytes.length > CONSOLE_MAX_BYTES && size > 0) this.#guarded(path, () => renameSync(path, `${path}.1`));
    this.#append(path, bytes);
  }

  /** Path of a file beside the log, in a folder that is there. `name` is one of ours. */
  file(name: string): string {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    return join(this.#folder, name);
  }

  /** Keeps a file beside the log; answers its path. */
  async keep(name: string, bytes: Buffer): Promise<string> {
    const path = this.file(name);
    await writeFile(path, bytes, { mode: 0o600 });
    return path;
  }

  /** Removes a kept file; nothing happens where there is none. */
  drop(name: string): void {
    rmSync(join(this.#folder, name), { force: true });
  }

  /** A log that cannot be written (a full disk) ends nobody's copy; it is told where it can be. */
  #append(path: string, data: string | Buffer): void {
    this.#guarded(path, () => {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      appendFileSync(path, data, { mode: 0o600 });
    });
  }

  #guarded(path: string, write: () => void): void {
    try {
      write();
    } catch (error) {
      this.#warn(`${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}
