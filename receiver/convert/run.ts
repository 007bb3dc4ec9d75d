/** Runs the transfer image's tools: argv only, a bound on time and output, one error. */
import { spawn } from 'node:child_process';
import { RehostError } from '../../appliance/api/errors.ts';
import type { ConvertTool } from './tools.ts';

export interface RunOptions {
  /** The tool is killed after this, ms. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
  /** Environment of the tool; the fixed one of this file when left out. */
  env?: Record<string, string>;
}

export interface RunResult {
  /** Exit code, or null when a signal ended the tool. */
  code: number | null;
  /** The last OUTPUT_MAX_BYTES of each stream. */
  stdout: string;
  stderr: string;
}

/** What is kept of each stream, bytes: the tools say why they failed at their end. */
const OUTPUT_MAX_BYTES = 256 * 1024;

/** Tools are found here only, and speak English: their words are shown, never parsed, unless a format was asked for. */
export const TOOL_ENVIRONMENT = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', HOME: '/root' } as const;

/**
 * Runs a tool to its end and answers its exit code and output. Throws TOOL_FAILED when it cannot be started or takes
 * longer than `timeoutMs`, JOB_CANCELLED when `signal` fires; it is dead then.
 */
export async function run(tool: ConvertTool, argv: readonly string[], options: RunOptions): Promise<RunResult> {
  const { signal } = options;
  if (signal?.aborted) throw cancelled(tool);
  return await new Promise((resolve, reject) => {
    const child = spawn(tool, argv, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: options.env ?? TOOL_ENVIRONMENT,
      cwd: '/',
    });
    const stdout = new Tail();
    const stderr = new Tail();
    child.stdout.on('data', (piece: Buffer) => stdout.push(piece));
    child.stderr.on('data', (piece: Buffer) => stderr.push(piece));
    let failure: RehostError | undefined;
    const kill = (error: RehostError): void => {
      failure ??= error;
      child.kill('SIGKILL');
    };
    const timer = setTimeout(
      () =>
        kill(new RehostError('TOOL_FAILED', `${tool} took longer than ${options.timeoutMs / 1000} s and was ended.`)),
      options.timeoutMs,
    );
    const onAbort = (): void => kill(cancelled(tool));
    signal?.addEventListener('abort', onAbort, { once: true });
    const settled = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    child.on('error', (cause) => {
      settled();
      reject(new RehostError('TOOL_FAILED', `${tool} could not be started: ${cause.message}`, { cause }));
    });
    child.on('close', (code) => {
      settled();
      if (failure) reject(failure);
      else resolve({ code, stdout: stdout.text(), stderr: stderr.text() });
    });
  });
}

/** Like `run`; throws TOOL_FAILED with the tool's last words unless it exits with 0. Answers its standard output. */
export async function runChecked(tool: ConvertTool, argv: readonly string[], options: RunOptions): Promise<string> {
  const result = await run(tool, argv, options);
  if (result.code !== 0) {
    throw new RehostError('TOOL_FAILED', `${tool} ${argv.join(' ')} ended with ${result.code}: ${lastWords(result)}`);
  }
  return result.stdout;
}

/** The end of what a tool said, on one line, for a message. */
export function lastWords(result: RunResult, maxLength = 400): string {
  const words = `${result.stdout}\n${result.stderr}`.replaceAll(/[^\x20-\x7e]+/g, ' ').trim();
  return words.length > maxLength ? `... ${words.slice(-maxLength)}` : words;
}

function cancelled(tool: string): RehostError {
  return new RehostError('JOB_CANCELLED', `The conversion was stopped while ${tool} ran.`);
}

/** The last bytes of a stream. */
class Tail {
  #pieces: Buffer[] = [];
  #bytes = 0;

  push(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    while (this.#bytes - (this.#pieces[0]?.length ?? 0) > OUTPUT_MAX_BYTES) {
      this.#bytes -= this.#pieces.shift()?.length ?? 0;
    }
  }

  text(): string {
    return Buffer.concat(this.#pieces).subarray(-OUTPUT_MAX_BYTES).toString('latin1');
  }
}
