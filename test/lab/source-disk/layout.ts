/**
 * The two kinds of source machine as data: what the disk builder writes and what the source machine's QEMU is started with.
 * `bios` is an older machine: IDE disk, GRUB in the MBR, kernel told `root=/dev/sda2`. `uefi` is a newer one: SATA disk, a boot
 * entry in the NVRAM only (no fallback path on the ESP), and an initramfs that has the drivers of this machine and no others.
 */

export type SourceKind = 'bios' | 'uefi';

export interface PartitionSpec {
  /** GPT type GUID. */
  type: string;
  /** MiB; the last one takes the rest when left out. */
  sizeMiB?: number;
  use: 'bios-boot' | 'esp' | 'root' | 'swap';
}

export interface SourceLayout {
  kind: SourceKind;
  /** QEMU machine type: decides the disk's controller and, with the slot, the NIC's name. */
  machine: 'pc' | 'q35';
  /** What systemd's predictable naming makes of an e1000 in PCI_SLOT on this machine type. */
  nicName: string;
  grubPackages: readonly string[];
  partitions: readonly PartitionSpec[];
}

// GPT type GUIDs of the UEFI specification, the GRUB manual and the Discoverable Partitions Specification.
const TYPE_BIOS_BOOT = '21686148-6449-6E6F-744E-656564454649';
const TYPE_ESP = 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B';
const TYPE_LINUX = '0FC63DAF-8483-4772-8E79-3D69D8477DE4';
const TYPE_SWAP = '0657FD6D-A4AB-43C4-84E5-0933C84B4F4F';

/** Size of the source disk, bytes. */
export const DISK_BYTES = 8 * 1024 ** 3;
/** PCI slot of the source machine's NIC on the first bus: fixed, because the guest names the NIC after it. */
export const PCI_SLOT = 3;
/** MAC of the source machine's NIC: locally administered, so that it meets no real one. */
export const SOURCE_MAC = '52:54:00:db:00:60';
/** Static address that the source's own system uses, in the lab's network. */
export const SOURCE_ADDRESS = '10.77.0.60';
export const SOURCE_PREFIX = 24;
export const SOURCE_HOST_NAME = 'db-paris-1';
/** Suite of the source's system. */
export const SUITE = 'trixie';

/** Debian packages of both kinds beside GRUB. */
export const PACKAGES: readonly string[] = [
  'linux-image-amd64',
  'initramfs-tools',
  'zstd',
  'systemd-sysv',
  'udev',
  'dbus',
  'kmod',
  'openssh-server',
  'iproute2',
  'e2fsprogs',
  'dosfstools',
  'procps',
  'login',
  'passwd',
];

export const LAYOUTS: Record<SourceKind, SourceLayout> = {
  bios: {
    kind: 'bios',
    machine: 'pc',
    // The i440FX's ACPI tables number hot-pluggable slots: udev takes that number before the bus path.
    nicName: `ens${PCI_SLOT}`,
    grubPackages: ['grub-pc'],
    partitions: [
      { use: 'bios-boot', type: TYPE_BIOS_BOOT, sizeMiB: 1 },
      { use: 'root', type: TYPE_LINUX, sizeMiB: 7168 },
      { use: 'swap', type: TYPE_SWAP },
    ],
  },
  uefi: {
    kind: 'uefi',
    machine: 'q35',
    nicName: `enp0s${PCI_SLOT}`,
    grubPackages: ['grub-efi-amd64', 'efibootmgr'],
    partitions: [
      { use: 'esp', type: TYPE_ESP, sizeMiB: 128 },
      { use: 'root', type: TYPE_LINUX, sizeMiB: 7168 },
      { use: 'swap', type: TYPE_SWAP },
    ],
  },
};

/** Number of the partition of this use, as in /dev/sdaN. */
export function partitionNumber(layout: SourceLayout, use: PartitionSpec['use']): number {
  const index = layout.partitions.findIndex((partition) => partition.use === use);
  if (index < 0) throw new Error(`The ${layout.kind} layout has no ${use} partition.`);
  return index + 1;
}

/** The layout as sfdisk's script. */
export function partitionScript(layout: SourceLayout): string {
  const lines = layout.partitions.map((partition) =>
    partition.sizeMiB === undefined ? `type=${partition.type}` : `size=${partition.sizeMiB}MiB, type=${partition.type}`,
  );
  return `label: gpt\n${lines.join('\n')}\n`;
}
