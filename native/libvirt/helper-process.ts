/** Starts the processes that load libvirt. */
import { type ChildProcess, fork } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What a helper may say on stderr before it ends is kept for the error message, bytes. */
const STDERR_KEPT = 4096;
/** How long stderr is waited for after the exit, ms: a process of a helper's own, for example ssh, may keep it open. */
const STDERR_GRACE_MS = 500;

export interface Helper {
  child: ChildProcess;
  /** Resolves when the process has ended, with a sentence that says how. */
  ended: Promise<string>;
}

/**
 * Starts `NAME-worker` beside this file, from source or bundled. The channel carries structured clones; a console process has pipes on fd 1 and 3.
 * The process is in a session of its own: Ctrl-C ends the orchestrator, which still needs its connections to clean up. It dies
 * with its owner (lifetime.ts).
 */
export function startHelper(name: 'connection' | 'console'): Helper {
  const entry = fileURLToPath(new URL(`./${name}-worker${extname(import.meta.filename)}`, import.meta.url));
  const child = fork(entry, [], {
    execArgv: [],
    detached: true,
    serialization: 'advanced',
    stdio: name === 'console' ? ['ignore', 'pipe', 'pipe', 'pipe', 'ipc'] : ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-STDERR_KEPT);
  });
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(`${name} process: ${error.message}`));
    child.once('exit', (code, signal) => {
      const tell = () => {
        clearTimeout(timer);
        const reason = said.split('\n').find((line) => line.includes('Error: ')) ?? said;
        resolve(`${name} process ended (${signal ?? `exit code ${code}`})${reason === '' ? '' : `: ${reason.trim()}`}`);
      };
      const timer = setTimeout(tell, STDERR_GRACE_MS);
      if (child.stderr === null || child.stderr.closed) tell();
      else child.stderr.once('close', tell);
    });
  });
  return { child, ended };
}
