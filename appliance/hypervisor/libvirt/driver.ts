/** The hypervisor driver for libvirt's QEMU. Each method is one function of a neighbouring file; nothing is remembered between calls. */
import type {
  ConsoleReader,
  DiskSpec,
  HypervisorDriver,
  HypervisorFacts,
  NetworkFacts,
  OwnedVm,
  PoolFacts,
  VmSpec,
  VmState,
  VolumeFacts,
  VolumeRef,
} from '../driver.ts';
import { openConsole } from './console.ts';
import { defineVm } from './define.ts';
import * as disks from './disks.ts';
import { listPools, probeHost } from './facts.ts';
import { checkName } from './names.ts';
import * as networks from './networks.ts';
import { toPng } from './screen.ts';
import { LibvirtSession } from './session.ts';
import * as vm from './vm.ts';
import * as volumes from './volumes.ts';

export class LibvirtDriver implements HypervisorDriver {
  readonly #session: LibvirtSession;

  /** The connection is opened by the first call; whoever made the driver closes it. `bridges`: see connect() in select.ts. */
  constructor(uri: string, bridges: readonly string[] = []) {
    this.#session = new LibvirtSession(uri, bridges);
  }

  probe(): Promise<HypervisorFacts> {
    return probeHost(this.#session);
  }

  pools(): Promise<PoolFacts[]> {
    return listPools(this.#session);
  }

  networks(): Promise<NetworkFacts[]> {
    return networks.listNetworks(this.#session);
  }

  createVolume(volume: VolumeRef & { format: 'raw' }, capacityBytes: number): Promise<VolumeFacts> {
    return volumes.createVolume(this.#session, volume, capacityBytes);
  }

  uploadVolume(volume: VolumeRef, localPath: string): Promise<void> {
    return volumes.uploadVolume(this.#session, volume, localPath);
  }

  createOverlay(overlay: VolumeRef & { format: 'qcow2' }, backing: VolumeRef): Promise<VolumeFacts> {
    return volumes.createOverlay(this.#session, overlay, backing);
  }

  cloneVolume(from: VolumeRef, to: VolumeRef): Promise<VolumeFacts> {
    return volumes.cloneVolume(this.#session, from, to);
  }

  findVolume(pool: string, name: string): Promise<VolumeFacts | undefined> {
    return volumes.findVolume(this.#session, pool, name);
  }

  listVolumes(pool: string): Promise<string[]> {
    return volumes.listVolumes(this.#session, pool);
  }

  deleteVolume(pool: string, name: string): Promise<void> {
    return volumes.deleteVolume(this.#session, pool, name);
  }

  defineVm(spec: VmSpec): Promise<void> {
    return defineVm(this.#session, spec);
  }

  startVm(name: string): Promise<void> {
    return vm.startVm(this.#session, name);
  }

  async startVmWithConsole(name: string): Promise<ConsoleReader> {
    const paused = await vm.startPaused(this.#session, name);
    const reader = await openConsole(this.#session.uri, name);
    try {
      if (paused) await vm.resumeVm(this.#session, name);
      return reader;
    } catch (error) {
      await reader.close();
      throw error;
    }
  }

  suspendVm(name: string): Promise<void> {
    return vm.suspendVm(this.#session, name);
  }

  resumeVm(name: string): Promise<void> {
    return vm.goOn(this.#session, name);
  }

  shutdownVm(name: string, deadlineMs: number): Promise<boolean> {
    return vm.shutdownVm(this.#session, name, deadlineMs);
  }

  destroyVm(name: string): Promise<void> {
    return vm.destroyVm(this.#session, name);
  }

  vmState(name: string): Promise<VmState> {
    return vm.vmState(this.#session, name);
  }

  ownedVms(): Promise<OwnedVm[]> {
    return vm.ownedVms(this.#session);
  }

  attachDisk(name: string, disk: DiskSpec): Promise<void> {
    return disks.attachDisk(this.#session, name, disk);
  }

  detachDisk(name: string, serial: string): Promise<void> {
    return disks.detachDisk(this.#session, name, serial);
  }

  cacheMode(name: string): Promise<'none' | 'writeback'> {
    return disks.cacheMode(this.#session, name);
  }

  moveNics(name: string, network: string): Promise<void> {
    return networks.moveNics(this.#session, name, network);
  }

  ensureIsolatedNetwork(name: string): Promise<void> {
    return networks.ensureIsolatedNetwork(this.#session, name);
  }

  async screenshot(name: string): Promise<Buffer> {
    checkName('VM', name);
    const what = `The screen of the VM ${name} could not be read`;
    const { image } = await this.#session.ask(what, 'domainScreenshot', name);
    return await toPng(image);
  }

  console(name: string): Promise<ConsoleReader> {
    return openConsole(this.#session.uri, name);
  }

  close(): Promise<void> {
    return this.#session.close();
  }
}
