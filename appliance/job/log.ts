/** The files of one job below the state folder: its log, consoles and screenshot. */
import { appendFileSync, mkdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Folder of a job's files. The id is made by the orchestrator and holds letters and digits only. */
export function jobFolder(stateDir: string, jobId: string): string {
  return join(stateDir, 'jobs', jobId);
}

export class JobLog {
  readonly folder: string;
  readonly path: string;

  constructor(stateDir: string, jobId: string) {
    this.folder = jobFolder(stateDir, jobId);
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    this.path = join(this.folder, 'log.txt');
  }

  /** One line with the time, UTC. */
  line(text: string): void {
    appendFileSync(this.path, `${new Date().toISOString()} ${text.replace(/\s*\n\s*/g, ' ')}\n`, { mode: 0o600 });
  }

  /** What an error says, as a line. */
  error(what: string, error: unknown): void {
    this.line(`${what}: ${error instanceof Error ? error.message : String(error)}`);
  }

  /** Raw bytes of a VM's serial console. */
  console(name: string, bytes: Buffer): void {
    appendFileSync(join(this.folder, `${name}.console`), bytes, { mode: 0o600 });
  }

  /** Keeps a file beside the log; answers its path. */
  async keep(name: string, bytes: Buffer): Promise<string> {
    const path = join(this.folder, name);
    await writeFile(path, bytes, { mode: 0o600 });
    return path;
  }
}
