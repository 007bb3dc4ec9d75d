/** Runs the tools of the lab by argv and turns their failures into one error. */
import { type ChildProcess, spawn } from 'node:child_process';
import { RehostError } from '../../appliance/api/errors.ts';

export interface CommandOptions {
  /** Text for the tool's standard input; empty when left out. */
  input?: string;
  cwd?: string;
  /** Variables added to this process's environment. */
  env?: Record<string, string>;
  /** The tool is killed after this, ms. */
  timeoutMs?: number;
  /** Gets the process as soon as it is started. */
  onStart?: (child: ChildProcess) => void;
  /** Called with each piece of output as it comes. */
  onOutput?: (text: string) => void;
}

export interface CommandResult {
  stdout: string;
  stderr: string;
  /** Exit code; null when a signal ended it. */
  code: number | null;
}

const TIMEOUT_DEFAULT_MS = 120_000;
/** What is kept of each stream, characters: a failing tool says why at its end. */
const OUTPUT_MAX = 16 * 1024 * 1024;

/** Runs a tool to its end and answers its output whatever its exit code. Rejects with TOOL_FAILED when it cannot be started or takes too long. */
export async function runAny(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const [file, ...args] = argv;
  if (file === undefined) throw new RehostError('INTERNAL', 'A command needs at least its name.');
  const timeoutMs = options.timeoutMs ?? TIMEOUT_DEFAULT_MS;
  return await new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C', ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    options.onStart?.(child);
    let stdout = '';
    let stderr = '';
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, timeoutMs);
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout = (stdout + text).slice(-OUTPUT_MAX);
      options.onOutput?.(text);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-OUTPUT_MAX);
      options.onOutput?.(text);
    });
    child.on('error', (cause) => {
      clearTimeout(timer);
      reject(new RehostError('TOOL_FAILED', `'${file}' could not be started: ${cause.message}`, { cause }));
    });
    // A tool that ends without reading its input breaks the pipe; its exit code says whether that mattered.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
    child.on('close', (code) => {
      clearTimeout(timer);
      if (late) {
        reject(new RehostError('TOOL_FAILED', `'${argv.join(' ')}' took longer than ${timeoutMs} ms and was killed.`));
      } else resolve({ stdout, stderr, code });
    });
  });
}

/** Runs a tool and answers its standard output. Rejects with TOOL_FAILED and the tool's last words unless it exits with 0. */
export async function run(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
  const result = await runAny(argv, options);
  if (result.code !== 0) {
    const words = `${result.stderr}\n${result.stdout}`.trim().slice(-2000);
    throw new RehostError('TOOL_FAILED', `'${argv.join(' ')}' ended with ${result.code ?? 'a signal'}: ${words}`);
  }
  return result.stdout;
}
