/** What a receiver shows to the orchestrator: first its one-time secret, then the session key that it got for it. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const FILE = 'session';

/** The key is also kept in `stateDir` (memory in the image, mode 0600), for a receiver process that init starts again. */
export class SessionKey {
  readonly #stateDir: string;
  #key: string | undefined;
  readonly #secret: string;

  /** `secret` is the config disk's, base64. */
  constructor(stateDir: string, secret: string) {
    this.#stateDir = stateDir;
    this.#secret = secret;
    this.#key = readKey(stateDir);
  }

  /** What to show now, base64. */
  get shown(): string {
    return this.#key ?? this.#secret;
  }

  /** Keeps the key that the orchestrator answered. */
  keep(key: string): void {
    if (key === this.#key) return;
    mkdirSync(this.#stateDir, { recursive: true, mode: 0o700 });
    // Renamed into place: a process that dies while it writes leaves no half key behind.
    const temporary = join(this.#stateDir, `${FILE}.new`);
    writeFileSync(temporary, key, { mode: 0o600 });
    renameSync(temporary, join(this.#stateDir, FILE));
    this.#key = key;
  }
}

function readKey(stateDir: string): string | undefined {
  try {
    return readFileSync(join(stateDir, FILE), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
