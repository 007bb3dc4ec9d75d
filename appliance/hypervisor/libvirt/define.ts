/** Defines a VM: everything is checked, first alone, then against the host, before anything is made. */
import { RehostError } from '../../api/errors.ts';
import type { VmSpec } from '../driver.ts';
import { domainXml } from './domain-xml.ts';
import { probeHost } from './facts.ts';
import { checkVm } from './names.ts';
import { requireNetwork } from './networks.ts';
import type { LibvirtSession } from './session.ts';
import { DEFINE_VALIDATE, vmState } from './vm.ts';
import { storedVolume } from './volumes.ts';

export async function defineVm(session: LibvirtSession, spec: VmSpec): Promise<void> {
  checkVm(spec);
  const facts = await probeHost(session);
  if (!facts.firmwares.includes(spec.firmware)) {
    throw new RehostError('FIRMWARE_UNSUPPORTED', `The hypervisor ${facts.hostname} has no ${spec.firmware} firmware.`);
  }
  if (!facts.accelerations.includes(spec.acceleration)) {
    throw new RehostError(
      'HYPERVISOR_REFUSED',
      `The hypervisor ${facts.hostname} does not offer ${spec.acceleration}.`,
    );
  }
  if ((await vmState(session, spec.name)) !== 'absent') {
    throw new RehostError('NAME_TAKEN', `There is a VM ${spec.name} already.`);
  }
  const disks = [];
  for (const disk of spec.disks) disks.push(await storedVolume(session, disk.volume));
  const networks = [];
  for (const nic of spec.nics) networks.push(await requireNetwork(session, nic.network));
  const { kernel } = spec;
  const boot =
    kernel === undefined
      ? {}
      : {
          kernelPath: (await storedVolume(session, kernel.kernel)).path,
          initrdPath: (await storedVolume(session, kernel.initrd)).path,
        };
  const xml = domainXml(spec, { arch: facts.arch, disks, networks, ...boot });
  await session.ask(`The VM ${spec.name} could not be defined`, 'domainDefine', xml, DEFINE_VALIDATE);
}
