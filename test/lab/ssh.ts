/** SSH into machines of the lab, from inside its namespace. */
import { RehostError } from '../../appliance/api/errors.ts';
import { runAny } from './command.ts';
import type { Lab } from './namespace.ts';

export interface SshTarget {
  address: string;
  /** Private key that may log in as root. */
  keyPath: string;
}

const CONNECT_LIMIT_S = 10;
const RETRY_MS = 2_000;
/** What ssh exits with when the connection failed, not the remote command (ssh(1)). */
const CONNECTION_FAILED = 255;

/** Runs a command line of the remote's shell as root; answers its stdout. Rejects with TOOL_FAILED unless it exits with 0. */
export async function ssh(
  lab: Pick<Lab, 'namespace'>,
  target: SshTarget,
  commandLine: string,
  timeoutMs = 60_000,
): Promise<string> {
  const result = await attempt(lab, target, commandLine, timeoutMs);
  if (result.code !== 0) {
    throw new RehostError(
      'TOOL_FAILED',
      `'${commandLine}' on ${target.address} ended with ${result.code ?? 'a signal'}: ${result.stderr.trim()} ${result.stdout.slice(-2000)}`,
    );
  }
  return result.stdout;
}

/** Waits until root can log in. Rejects with TIMEOUT and ssh's last words. */
export async function waitForSsh(lab: Pick<Lab, 'namespace'>, target: SshTarget, deadlineMs: number): Promise<void> {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const result = await attempt(lab, target, 'true', 60_000);
    if (result.code === 0) return;
    if (result.code !== CONNECTION_FAILED || Date.now() > end)
      throw new RehostError(
        'TIMEOUT',
        `No login on ${target.address} within ${deadlineMs} ms: ${result.stderr.trim()}`,
      );
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

function attempt(
  lab: Pick<Lab, 'namespace'>,
  target: SshTarget,
  commandLine: string,
  timeoutMs: number,
): ReturnType<typeof runAny> {
  // Host keys are not kept: every lab has its own machines at the same addresses, on a network of its own.
  const options = [
    'BatchMode=yes',
    'StrictHostKeyChecking=no',
    'UserKnownHostsFile=/dev/null',
    'LogLevel=ERROR',
    'IdentitiesOnly=yes',
    `ConnectTimeout=${CONNECT_LIMIT_S}`,
    'ServerAliveInterval=10',
  ].flatMap((option) => ['-o', option]);
  return runAny(
    [
      ...['ip', 'netns', 'exec', lab.namespace, 'ssh', '-F', '/dev/null', ...options, '-i', target.keyPath],
      ...[`root@${target.address}`, commandLine],
    ],
    { timeoutMs },
  );
}
