/**
 * Mounts in a mount namespace of their own. Whoever makes a namespace (each `ip netns exec` does) takes a copy of all mounts
 * there are, and a file system stays mounted, after its umount, for as long as one copy lives: not so these.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readlinkSync } from 'node:fs';

export class PrivateMounts {
  readonly #holder: ChildProcess;
  readonly #pid: string;

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
    this.#pid = String(holder.pid);
  }

  /** Root only; `close` ends it. */
  static async open(): Promise<PrivateMounts> {
    const own = readlinkSync('/proc/self/ns/mnt');
    const holder = spawn(
      'unshare',
      ['--mount', '--propagation', 'private', 'sh', '-c', 'echo ready; exec sleep infinity'],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    const first = await Promise.race([once(holder.stdout, 'data'), once(holder, 'exit')]);
    const mounts = new PrivateMounts(holder);
    if (String(first[0]).trim() !== 'ready' || readlinkSync(`/proc/${holder.pid}/ns/mnt`) === own) {
      await mounts.close();
      throw new Error('no mount namespace of its own could be made; this test needs root');
    }
    // Nor does this one keep others' file systems.
    for (const line of readFileSync(`/proc/${holder.pid}/mounts`, 'utf8').split('\n')) {
      const [device = '', point = ''] = line.split(' ');
      if (device.startsWith('/dev/loop')) mounts.run('umount', '--lazy', point);
    }
    return mounts;
  }

  /** Runs a tool where the mounts are; answers its stdout. */
  run(program: string, ...args: string[]): string {
    const { exitCode, signalCode } = this.#holder;
    if (exitCode !== null || signalCode !== null) throw new Error(`the namespace ended: ${exitCode ?? signalCode}`);
    return execFileSync('nsenter', ['--mount', '--target', this.#pid, program, ...args], {
      encoding: 'utf8',
      stdio: 'pipe',
    });
  }

  /** The path by which this process reaches what is mounted at `point`. */
  reach(point: string): string {
    return `/proc/${this.#pid}/root${point}`;
  }

  /** Ends the namespace and with it all of its mounts. */
  async close(): Promise<void> {
    if (this.#holder.exitCode !== null || this.#holder.signalCode !== null) return;
    const ended = once(this.#holder, 'exit');
    this.#holder.kill('SIGKILL');
    await ended;
  }
}
