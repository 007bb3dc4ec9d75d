/** In place of agent/export/allocation/btrfs-checksums.ts under the fuzzer, see hooks.ts. */
import { btrfsChecksumHolds as strict } from '../../../agent/export/allocation/btrfs-checksums.ts';
import { looseChecksums } from './switch.ts';

export function btrfsChecksumHolds(type: number, block: Buffer): boolean {
  return strict(type, block) || looseChecksums.on;
}
