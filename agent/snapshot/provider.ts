/** A snapshot: the source at one instant, consistent over all its disks. One file per kind; one contract suite for all. */
import type { BlockDevice } from '../../native/block.ts';

export interface SnapshotDisk {
  /** Kernel name, for example `sda`; also the NBD export's name. */
  disk: string;
  path: string;
  sizeBytes: number;
  /** SHA-256, hex, over serial, size and the first MiB. */
  identity: string;
}

export interface Snapshot {
  readonly provider: string;
  /** The instant, ISO 8601 UTC. */
  readonly timestamp: string;
  readonly disks: readonly SnapshotDisk[];
  /** Opens one disk read-only; the caller closes it. Each data connection opens its own. */
  open(disk: string): BlockDevice;
  /** Nothing of the snapshot is needed any longer. Idempotent. */
  release(): Promise<void>;
}

export interface SnapshotProvider {
  readonly name: string;
  /** Undefined when it can, else the reason why it cannot, for a person. */
  canSnapshot(disks: readonly string[]): Promise<string | undefined>;
  /** SNAPSHOT_REFUSED with the reason when it cannot. */
  create(disks: readonly string[]): Promise<Snapshot>;
}
