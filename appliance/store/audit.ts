/** The audit log: who did what, when, with what result. Append-only JSON lines, each on disk before the call returns. */
import { type FileHandle, open } from 'node:fs/promises';

export interface AuditEntry {
  /** `local socket`, `token NAME`, `machine ID`, `engine`. */
  who: string;
  what: string;
  /** The id of what it was done to. */
  subject: string;
  /** `ok`, or the code of the refusal. */
  result: string;
}

const NEWLINE = 10;

export class AuditLog {
  readonly #file: FileHandle;
  #last: Promise<unknown> = Promise.resolve();
  /** A write that failed may have left half a line. */
  #torn = false;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Opens the log, mode 0600. A last line that a power cut tore is kept and closed, so that the next entry has a line of its own. */
  static async open(path: string): Promise<AuditLog> {
    const file = await open(path, 'a+', 0o600);
    try {
      const { size } = await file.stat();
      if (size > 0) {
        const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
        if (buffer[0] !== NEWLINE) await file.appendFile('\n');
      }
      return new AuditLog(file);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Resolves when the entry is on disk. */
  async append(entry: AuditEntry): Promise<void> {
    const line = `${JSON.stringify({ at: new Date().toISOString(), ...entry })}\n`;
    const written = this.#last.then(async () => {
      const start = this.#torn ? '\n' : '';
      this.#torn = true;
      await this.#file.appendFile(start + line);
      await this.#file.datasync();
      this.#torn = false;
    });
    // The next entry is written in any case; this one's failure is the caller's.
    this.#last = written.catch(() => undefined);
    await written;
  }

  async close(): Promise<void> {
    await this.#last;
    await this.#file.close();
  }
}
