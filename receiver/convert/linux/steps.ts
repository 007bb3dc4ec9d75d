/** The steps for a Debian-like guest, in order: what the initramfs copies is changed before it is rebuilt. */
import type { ConversionStep } from '../step.ts';
import { efiFallback } from './efi-fallback.ts';
import { fstabUuids } from './fstab-uuids.ts';
import { grubConfig } from './grub-config.ts';
import { initramfsVirtio } from './initramfs-virtio.ts';
import { networkAddress } from './network-address.ts';
import { nicNames } from './nic-names.ts';
import { serialGetty } from './serial-getty.ts';

export const STEPS: readonly ConversionStep[] = [
  fstabUuids,
  nicNames,
  networkAddress,
  initramfsVirtio,
  grubConfig,
  efiFallback,
  serialGetty,
];
