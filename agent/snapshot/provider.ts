/** A snapshot: the source at one instant, consistent over all its disks. One file per kind; one contract suite for all. */
import type { BlockDevice } from '../../native/block.ts';

export interface SnapshotDisk {
  /** The name by which it was asked for, for example `sda`; also the NBD export's name. */
  disk: string;
  /** Where the kernel has it, mostly under the same name. */
  path: string;
  sizeBytes: number;
  /** See `diskIdentity`. */
  identity: string;
}

/** By the disks' names: how they showed themselves in an earlier life of this machine. */
export type DiskIdentities = Readonly<Record<string, { sizeBytes: number; identity: string }>>;

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
  /**
   * SNAPSHOT_REFUSED with the reason when it cannot. A disk that `earlier` has and that is not under its name any more is found by its
   * identity; one that is nowhere is the one of that name, whose own identity then tells that it is another.
   */
  create(disks: readonly string[], earlier?: DiskIdentities): Promise<Snapshot>;
}
