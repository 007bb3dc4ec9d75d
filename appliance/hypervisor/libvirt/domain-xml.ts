/** A whole VM as libvirt describes it. Pure: what has to be asked of the host comes in. */
import type { NetworkFacts, VmSpec } from '../driver.ts';
import { addDisk } from './disk-xml.ts';
import { domainType, MACHINE } from './facts.ts';
import { addOwner } from './owner.ts';
import type { StoredVolume } from './volumes.ts';
import { add, type Element, root, serialize, setAttributes } from './xml.ts';

/** What the host said about the things that a VM's description names. */
export interface Resolved {
  arch: string;
  /** In the order of the description's disks. */
  disks: StoredVolume[];
  /** In the order of the description's NICs. */
  networks: NetworkFacts[];
  kernelPath?: string;
  initrdPath?: string;
}

export function domainXml(spec: VmSpec, resolved: Resolved): string {
  const domain = root('domain', { type: domainType(spec.acceleration) });
  const target = spec.owner.role === 'target';
  add(domain, 'name', {}, spec.name);
  addOwner(add(domain, 'metadata'), spec.owner);
  add(domain, 'memory', { unit: 'b' }, String(spec.memoryBytes));
  add(domain, 'vcpu', {}, String(spec.cpus));
  addBoot(domain, spec, resolved);
  const features = add(domain, 'features');
  add(features, 'acpi');
  add(features, 'apic');
  addCpu(domain, spec);
  add(domain, 'clock', { offset: 'utc' });
  add(domain, 'on_poweroff', {}, 'destroy');
  // A transfer or probe VM that reboots has failed: it ends, so that its state says so.
  add(domain, 'on_reboot', {}, target ? 'restart' : 'destroy');
  add(domain, 'on_crash', {}, 'destroy');
  addDevices(domain, spec, resolved);
  return serialize(domain);
}

/** A NIC's source element by the kind of its network. */
export function setNetwork(nic: Element, network: NetworkFacts): void {
  setAttributes(nic, { type: network.kind });
  add(nic, 'source', { [network.kind]: network.name });
}

function addBoot(domain: Element, spec: VmSpec, { arch, kernelPath, initrdPath }: Resolved): void {
  const uefi = spec.firmware === 'uefi';
  // libvirt picks the OVMF build and makes the NVRAM; since 7.2 it can be told to take one without Secure Boot.
  const os = add(domain, 'os', { firmware: uefi ? 'efi' : undefined });
  add(os, 'type', { arch, machine: MACHINE }, 'hvm');
  if (uefi) {
    const firmware = add(os, 'firmware');
    add(firmware, 'feature', { enabled: 'no', name: 'enrolled-keys' });
    add(firmware, 'feature', { enabled: 'no', name: 'secure-boot' });
  }
  if (kernelPath !== undefined) add(os, 'kernel', {}, kernelPath);
  if (initrdPath !== undefined) add(os, 'initrd', {}, initrdPath);
  if (spec.kernel !== undefined) add(os, 'cmdline', {}, spec.kernel.commandLine);
}

/**
 * Under emulation the plainest models make new kernels panic and fall short of x86-64-v2: everything that QEMU can emulate, then.
 * Under KVM the host's model, the same for every role: a probe that succeeds has then proved what the target VM gets.
 */
function addCpu(domain: Element, spec: VmSpec): void {
  add(domain, 'cpu', { mode: spec.acceleration === 'tcg' ? 'maximum' : 'host-model' });
}

function addDevices(domain: Element, spec: VmSpec, resolved: Resolved): void {
  const devices = add(domain, 'devices');
  const target = spec.owner.role === 'target';
  // No USB: its polling wakes an emulated VM a thousand times a second.
  add(devices, 'controller', { type: 'usb', model: 'none' });
  add(devices, 'controller', { type: 'scsi', index: 0, model: 'virtio-scsi' });
  resolved.disks.forEach((volume, index) => {
    const disk = spec.disks[index];
    if (disk !== undefined) addDisk(devices, disk, volume, spec.owner.role);
  });
  resolved.networks.forEach((network, index) => {
    const nic = spec.nics[index];
    if (nic === undefined) return;
    const element = add(devices, 'interface');
    if (nic.mac !== undefined) add(element, 'mac', { address: nic.mac });
    setNetwork(element, network);
    add(element, 'model', { type: nic.model });
  });
  add(add(devices, 'serial', { type: 'pty' }), 'target', { type: 'isa-serial', port: 0 });
  add(add(devices, 'console', { type: 'pty' }), 'target', { type: 'serial', port: 0 });
  if (target) {
    add(add(devices, 'channel', { type: 'unix' }), 'target', { type: 'virtio', name: 'org.qemu.guest_agent.0' });
  }
  if (spec.video) {
    // A screen without a port: viewers reach it through libvirt, nobody over the network.
    add(add(devices, 'graphics', { type: 'vnc' }), 'listen', { type: 'none' });
    add(add(devices, 'video'), 'model', { type: 'vga' });
  }
  add(devices, 'memballoon', { model: target ? 'virtio' : 'none' });
  add(add(devices, 'rng', { model: 'virtio' }), 'backend', { model: 'random' }, '/dev/urandom');
}
