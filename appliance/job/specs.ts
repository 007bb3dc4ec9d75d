/** The two virtual machines of a job. */
import type { Job, JobDisk } from '../api/job.ts';
import { CONFIG_DISK_SERIAL, JOURNAL_SERIAL } from '../api/transfer.ts';
import type { Acceleration, DiskSpec, VmSpec, VolumeRef } from '../hypervisor/driver.ts';
import { configVolume, diskSerial, journalVolume, overlayVolume, replicaVolume, transferVmName } from './names.ts';

const MIB = 1024 * 1024;
/** What the transfer image needs: its initramfs unpacked, Node, and the transfer buffers. */
const TRANSFER_MEMORY_BYTES = 512 * MIB;
/** Two connections decrypt and write side by side. */
const TRANSFER_CPUS = 2;
/** A source with less boots its own system with what it has; a VM below this does not reach a login prompt on Debian 13. */
const TARGET_MEMORY_MIN_BYTES = 256 * MIB;

function replicaDisk(job: Job, disk: JobDisk): DiskSpec {
  return {
    volume: replicaVolume(job.pool, job.id, disk.disk),
    serial: diskSerial('replica', disk.disk),
    bus: 'scsi',
    logicalSectorBytes: disk.logicalSectorBytes,
  };
}

/** What a receiver copies to: the replicas and the journal. Replicas that were verified need no journal, and nobody writes to them any more. */
export function copyDisks(job: Job): DiskSpec[] {
  const replicas = job.disks.map((disk) => replicaDisk(job, disk));
  if (job.replicaVerified) return replicas.map((disk) => ({ ...disk, readonly: true }));
  return [...replicas, journalDisk(job)];
}

/** What a receiver checks: the replicas, which nobody can write through this VM, and the manifest in the journal's place. */
export function checkDisks(job: Job): DiskSpec[] {
  return [...job.disks.map((disk) => ({ ...replicaDisk(job, disk), readonly: true })), journalDisk(job)];
}

function journalDisk(job: Job): DiskSpec {
  return { volume: journalVolume(job.pool, job.id), serial: JOURNAL_SERIAL, bus: 'scsi' };
}

export function overlayDisk(job: Job, disk: JobDisk): DiskSpec {
  return {
    volume: overlayVolume(job.pool, job.id, disk.disk),
    serial: diskSerial('overlay', disk.disk),
    bus: 'scsi',
    logicalSectorBytes: disk.logicalSectorBytes,
  };
}

export function transferVm(
  job: Job,
  acceleration: Acceleration,
  image: { kernel: VolumeRef; initrd: VolumeRef },
  network: string,
  disks: DiskSpec[],
): VmSpec {
  return {
    name: transferVmName(job.id),
    memoryBytes: TRANSFER_MEMORY_BYTES,
    cpus: TRANSFER_CPUS,
    acceleration,
    // Conversion edits files only and runs no boot loader installer, so the transfer VM needs no firmware of the target's kind.
    firmware: 'bios',
    kernel: { ...image, commandLine: 'console=ttyS0 quiet panic=-1 raid=noautodetect' },
    disks: [
      { volume: configVolume(job.pool, job.id), serial: CONFIG_DISK_SERIAL, bus: 'scsi', readonly: true },
      ...disks,
    ],
    nics: [{ network, model: 'virtio' }],
    video: false,
    owner: { jobId: job.id, role: 'transfer' },
  };
}

export function targetVm(job: Job, acceleration: Acceleration): VmSpec {
  return {
    name: job.order.name,
    memoryBytes: Math.max(job.memoryBytes, TARGET_MEMORY_MIN_BYTES),
    cpus: job.cpus,
    acceleration,
    firmware: job.firmware,
    disks: job.disks.map((disk, index) => ({
      volume: overlayVolume(job.pool, job.id, disk.disk),
      serial: diskSerial('overlay', disk.disk),
      bus: 'virtio',
      bootOrder: index + 1,
      logicalSectorBytes: disk.logicalSectorBytes,
    })),
    nics: job.nics.map((nic) => ({ network: job.isolatedNetwork, mac: nic.mac, model: 'virtio' })),
    video: true,
    owner: { jobId: job.id, role: 'target' },
  };
}
