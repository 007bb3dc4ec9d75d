/**
 * A hypervisor whose transfer VMs are receiver processes on this machine: real receivers on real block devices, without a guest around
 * them. Everything else is in memory. Needs root.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CONFIG_DISK_SERIAL } from '../../../appliance/api/transfer.ts';
import type { ConsoleReader, VmState, VolumeFacts, VolumeRef } from '../../../appliance/hypervisor/driver.ts';
import { attachLoop, type LoopDevice } from '../../contract/target/loop-device.ts';
import { MemoryHypervisor } from './memory-hypervisor.ts';

const RECEIVER = join(import.meta.dirname, '../../../receiver/main.ts');

interface Running {
  child: ChildProcess;
  loops: LoopDevice[];
}

export class ProcessHypervisor extends MemoryHypervisor {
  /** What every receiver said, for a test that fails. */
  said = '';
  readonly #folder: string;
  readonly #running = new Map<string, Running>();

  /** Volumes are files in this folder. */
  constructor(folder: string) {
    super(['default']);
    this.#folder = folder;
  }

  fileOf(volume: string): string {
    return join(this.#folder, volume);
  }

  override async createVolume(volume: VolumeRef & { format: 'raw' }, capacityBytes: number): Promise<VolumeFacts> {
    const made = await super.createVolume(volume, capacityBytes);
    await writeFile(this.fileOf(volume.name), '');
    await truncate(this.fileOf(volume.name), capacityBytes);
    return made;
  }

  override async uploadVolume(volume: VolumeRef, localPath: string): Promise<void> {
    await super.uploadVolume(volume, localPath);
    const file = await open(this.fileOf(volume.name), 'r+');
    try {
      await file.writeFile(await readFile(localPath));
    } finally {
      await file.close();
    }
  }

  override async deleteVolume(pool: string, name: string): Promise<void> {
    await super.deleteVolume(pool, name);
    await rm(this.fileOf(name), { force: true });
  }

  override async startVmWithConsole(name: string): Promise<ConsoleReader> {
    const console = await super.startVmWithConsole(name);
    const vm = this.vms.get(name);
    const loops: LoopDevice[] = [];
    const argv = [RECEIVER, '--address', '127.0.0.1', '--state', await mkdtemp(join(this.#folder, 'receiver-'))];
    for (const { serial, volume, readonly } of vm?.disks ?? []) {
      const loop = attachLoop(this.fileOf(volume.name), 512, readonly === true);
      loops.push(loop);
      if (serial === CONFIG_DISK_SERIAL) argv.push('--config', this.fileOf(volume.name));
      else argv.push('--disk', `${serial}=${loop.path}`);
    }
    const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (text: Buffer) => {
        this.said += text.toString();
      });
    this.#running.set(name, { child, loops });
    return console;
  }

  override async destroyVm(name: string): Promise<void> {
    await this.kill(name);
    await super.destroyVm(name);
  }

  override async vmState(name: string): Promise<VmState> {
    const state = await super.vmState(name);
    const running = this.#running.get(name);
    return state === 'running' && running && hasEnded(running.child) ? 'crashed' : state;
  }

  /** The VM dies: its receiver is gone without a word. Answers whether there was one. */
  async kill(name: string): Promise<boolean> {
    const running = this.#running.get(name);
    this.#running.delete(name);
    if (!running) return false;
    running.child.kill('SIGKILL');
    if (!hasEnded(running.child)) await once(running.child, 'exit');
    for (const loop of running.loops) loop.detach();
    const vm = this.vms.get(name);
    if (vm) vm.state = 'crashed';
    return true;
  }

  override async close(): Promise<void> {
    for (const name of [...this.#running.keys()]) await this.kill(name);
  }
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}
