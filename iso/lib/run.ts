import { spawn } from 'node:child_process';
import { ImageError } from './errors.ts';

interface RunOptions {
  /** The program is killed after this, ms. */
  readonly timeoutMs?: number;
  readonly cwd?: string;
}

const TIMEOUT_MS = 600_000;
/** Of a failed program's messages, the last characters are told. */
const TOLD_CHARACTERS = 2000;

/** Runs a program to its end and answers its standard output. Throws ImageError with the end of its messages when it fails. */
export async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: options.timeoutMs ?? TIMEOUT_MS,
    // Messages are parsed: no translation.
    env: { ...process.env, LC_ALL: 'C.UTF-8' },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const output: Buffer[] = [];
  let messages = '';
  child.stdout.on('data', (data: Buffer) => output.push(data));
  child.stderr.on('data', (data: Buffer) => {
    messages = (messages + data.toString()).slice(-TOLD_CHARACTERS);
  });
  await new Promise<void>((resolve, reject) => {
    child.on('error', (error: NodeJS.ErrnoException) => {
      const missing = error.code === 'ENOENT';
      reject(
        new ImageError(
          missing ? `The program ${program} is missing.` : `${program} does not start: ${error.message}.`,
          "Run 'make setup'; it installs what an image build needs.",
          error,
        ),
      );
    });
    child.on('close', (code, signal) => {
      if (code === 0) return resolve();
      const ended = signal === null ? `ended with ${code}` : `was killed by ${signal}`;
      reject(new ImageError(`${program} ${ended}: ${messages.trim() || 'no message'}`, "Read the program's message."));
    });
  });
  return Buffer.concat(output).toString();
}
