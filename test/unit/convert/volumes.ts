/** Volumes as the conversion finds them, for the tests of its pure parts. */
import type { GuestVolume } from '../../../receiver/convert/step.ts';

/** A volume of the source's device name; what is not given is empty, the file system ext4. */
export function volume(sourceDevice: string, facts: Partial<GuestVolume> = {}): GuestVolume {
  return {
    device: sourceDevice.replace('/dev/sd', '/dev/vd'),
    sourceDevice,
    fileSystem: 'ext4',
    uuid: '',
    partUuid: '',
    label: '',
    partLabel: '',
    partType: '',
    ...facts,
  };
}

/** The root of VOLUMES. */
export const ROOT = volume('/dev/sda2', {
  uuid: '11111111-aaaa-4bbb-8ccc-000000000002',
  partUuid: 'aaaa-02',
  label: 'root fs',
});

/** One disk: ESP, root, swap. */
export const VOLUMES: GuestVolume[] = [
  volume('/dev/sda1', { fileSystem: 'vfat', uuid: 'ABCD-0001', partType: 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b' }),
  ROOT,
  volume('/dev/sda3', { fileSystem: 'swap', uuid: '11111111-aaaa-4bbb-8ccc-000000000003', partUuid: 'aaaa-03' }),
];
