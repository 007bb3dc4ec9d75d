/** What an agent reports of its source machine. All sizes are bytes. */
import Type, { type Static } from 'typebox';

export const Partition = Type.Object({
  /** Kernel name without /dev, for example `sda2`. */
  name: Type.String(),
  number: Type.Integer({ minimum: 1 }),
  startBytes: Type.Integer({ minimum: 0 }),
  sizeBytes: Type.Integer({ minimum: 0 }),
  /** blkid's TYPE, or null where nothing was recognised. */
  fileSystem: Type.Union([Type.String(), Type.Null()]),
  uuid: Type.Union([Type.String(), Type.Null()]),
  label: Type.Union([Type.String(), Type.Null()]),
  partitionType: Type.Union([Type.String(), Type.Null()]),
});
export type Partition = Static<typeof Partition>;

export const SourceDisk = Type.Object({
  /** Kernel name without /dev, for example `sda`. Server-checked: never used as a path by the appliance. */
  name: Type.String({ pattern: '^[a-z0-9]{1,32}$' }),
  sizeBytes: Type.Integer({ minimum: 512 }),
  logicalSectorBytes: Type.Integer({ minimum: 512 }),
  model: Type.String(),
  serial: Type.String(),
  /** ata, scsi, nvme, virtio, usb ... */
  bus: Type.String(),
  rotational: Type.Boolean(),
  /** A stick or card that a person may have plugged in for the moment. */
  removable: Type.Optional(Type.Boolean()),
  table: Type.Union([Type.Literal('gpt'), Type.Literal('dos'), Type.Null()]),
  partitions: Type.Array(Partition),
});
export type SourceDisk = Static<typeof SourceDisk>;

export const SourceNic = Type.Object({
  /** As the agent's kernel calls it. */
  name: Type.String(),
  /** Names that the source's own system may give it by udev's rules (eno1, ens3, enp0s3 ...), the most likely one first. */
  pathNames: Type.Optional(Type.Array(Type.String({ pattern: '^[A-Za-z0-9._-]{1,15}$' }), { maxItems: 8 })),
  mac: Type.String({ pattern: '^[0-9a-f]{2}(:[0-9a-f]{2}){5}$' }),
  speedMbit: Type.Union([Type.Integer(), Type.Null()]),
  driver: Type.String(),
});
export type SourceNic = Static<typeof SourceNic>;

export const Inventory = Type.Object({
  vendor: Type.String(),
  product: Type.String(),
  serial: Type.String(),
  /** SMBIOS UUID, lower case, or empty. */
  uuid: Type.String(),
  firmware: Type.Union([Type.Literal('bios'), Type.Literal('uefi')]),
  secureBoot: Type.Boolean(),
  cpu: Type.Object({ model: Type.String(), cores: Type.Integer({ minimum: 1 }) }),
  memoryBytes: Type.Integer({ minimum: 1 }),
  disks: Type.Array(SourceDisk),
  nics: Type.Array(SourceNic),
});
export type Inventory = Static<typeof Inventory>;
