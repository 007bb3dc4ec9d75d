/** Boots an image in a QEMU process under emulation and reads its serial console. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** Emulation on a machine that does other things too; it says that nothing comes any more, not how fast it should be, ms. */
const PATIENCE_MS = 180_000;

export interface MachineOptions {
  readonly vmlinuz: string;
  readonly initrd: string;
  readonly memoryMiB: number;
  /** Added to the kernel command line. */
  readonly append?: string;
  /** Devices. */
  readonly args?: readonly string[];
  /** Path for QEMU's monitor socket, where a test plugs devices in. */
  readonly monitor?: string;
}

export class Machine {
  readonly #child: ChildProcess;
  readonly #started = performance.now();
  readonly #monitor: string | undefined;
  #console = '';
  #ended = false;

  constructor(options: MachineOptions) {
    const { vmlinuz, initrd, memoryMiB, append = '', args = [], monitor } = options;
    this.#monitor = monitor;
    this.#child = spawn(
      'qemu-system-x86_64',
      [
        ...['-accel', 'tcg,thread=multi', '-cpu', 'max', '-M', 'q35', '-smp', '2', '-m', String(memoryMiB)],
        ...['-nodefaults', '-display', 'none', '-serial', 'stdio', '-no-reboot'],
        ...(monitor === undefined ? [] : ['-monitor', `unix:${monitor},server=on,wait=off`]),
        ...['-kernel', vmlinuz, '-initrd', initrd, '-append', `console=ttyS0 quiet panic=-1 ${append}`],
        ...args,
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (data: Buffer) => {
        this.#console += data.toString();
      });
    }
    this.#child.on('error', (error) => {
      this.#console += error.message;
      this.#ended = true;
    });
    this.#child.on('exit', () => {
      this.#ended = true;
    });
  }

  get console(): string {
    return this.#console;
  }

  /** Seconds since the machine was switched on. */
  get seconds(): number {
    return (performance.now() - this.#started) / 1000;
  }

  /** The first match on the console. Throws with the console's text when the machine ends or nothing comes in time. */
  async says(pattern: RegExp): Promise<string> {
    const deadline = performance.now() + PATIENCE_MS;
    while (performance.now() < deadline) {
      const found = pattern.exec(this.#console);
      if (found !== null) return found[1] ?? found[0];
      if (this.#ended) break;
      await sleep(50);
    }
    throw new Error(`The console never said ${pattern}:\n${this.#console}`);
  }

  /** Until the machine has switched itself off. */
  async off(): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS;
    while (!this.#ended) {
      if (performance.now() > deadline) throw new Error(`The machine stays on:\n${this.#console}`);
      await sleep(50);
    }
  }

  /** Gives one command to QEMU's monitor. */
  async plug(command: string): Promise<void> {
    if (this.#monitor === undefined) throw new Error('This machine has no monitor.');
    const socket = connect(this.#monitor);
    await once(socket, 'connect');
    socket.write(`${command}\n`);
    // The monitor answers with its prompt once the command is done.
    let text = '';
    for await (const data of socket) {
      text += String(data);
      if (text.split('(qemu)').length > 2) break;
    }
    socket.destroy();
  }

  async destroy(): Promise<void> {
    if (this.#ended) return;
    this.#child.kill('SIGKILL');
    await once(this.#child, 'exit');
  }
}
