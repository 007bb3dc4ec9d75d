/**
 * One conversion step: what it needs to know, when it applies, what it changes. A step touches the overlay only, through
 * the mounted guest, and is idempotent: applied twice it changes nothing the second time.
 */
import type { ConvertOptions } from '../../appliance/api/control.ts';

/** A partition (or an unpartitioned disk) of the guest, on an overlay. */
export interface GuestVolume {
  /** Device in the transfer VM, for example /dev/sdb2. */
  device: string;
  /** The name that the source gave it, for example /dev/sda2. */
  sourceDevice: string;
  /** blkid's TYPE, or empty where nothing was recognised. */
  fileSystem: string;
  uuid: string;
  partUuid: string;
  label: string;
  /** Name of the partition in a GPT, or empty. */
  partLabel: string;
  /** Type of the partition: a GUID in lower case (GPT) or a number such as 0x83 (MBR), or empty. */
  partType: string;
}

/** The guest as found, mounted at `root` while the steps run. */
export interface Guest {
  /** Where the guest's root is mounted in the transfer VM. */
  root: string;
  volumes: GuestVolume[];
  rootVolume: GuestVolume;
  /** os-release's ID and ID_LIKE, lower case. */
  families: string[];
  prettyName: string;
  /** Where the ESP is mounted below root (for example /boot/efi), if there is one. */
  espMountPoint: string | undefined;
  options: ConvertOptions;
  /** Fires when the job is stopped: long work ends itself then. */
  signal?: AbortSignal | undefined;
  /** A line for the log. */
  log(line: string): void;
}

export interface StepResult {
  changed: boolean;
  /** One sentence for the job's report. */
  detail: string;
}

export interface ConversionStep {
  /** Stable name, the file's own. */
  readonly name: string;
  /** Does this guest need the question at all? */
  applies(guest: Guest): Promise<boolean>;
  apply(guest: Guest): Promise<StepResult>;
}
