/** A disk whose file systems lie in logical volumes is recognised by these as well (root: loop devices). */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, describe, it } from 'node:test';
import { DeviceSource } from '../../../agent/export/allocation/source.ts';
import { diskIdentity } from '../../../agent/snapshot/identity.ts';
import { BlockDevice } from '../../../native/block.ts';
import { MIB, transfer } from '../../lab/disk-images.ts';
import { LvmLab } from './lvm-lab.ts';

const PV_BYTES = 64 * MIB;
const lab = new LvmLab();
after(() => lab.end());

function identityOf(path: string): string {
  const device = BlockDevice.open(path, { write: false, direct: true });
  const source = new DeviceSource(device, device.sizeBytes);
  try {
    return diskIdentity(source, 'a serial');
  } finally {
    source.free();
    device.close();
  }
}

describe('identity of a disk with LVM', () => {
  const { image } = lab.group(PV_BYTES);
  lab.create('first', 8);
  lab.create('root', 24);
  const [piece] = lab.pieces('root');
  assert.ok(piece);
  const at = piece.disk;
  lab.detachAll();
  const inPartition = lab.image(PV_BYTES + 4 * MIB);
  execFileSync('sfdisk', ['-q', inPartition], {
    input: 'label: gpt\nstart=2M, size=64M, type=E6D6D379-F507-44C2-A23C-238F2A3DF928\n',
  });
  transfer(image, 0, inPartition, 2 * MIB, PV_BYTES);

  for (const [where, path, offset] of [
    ['the whole disk', image, at],
    ['a partition', inPartition, 2 * MIB + at],
  ] as const) {
    it(`is another one when a file system was mounted in a volume of ${where}`, () => {
      assert.ok(offset > MIB, 'it lies behind what is looked at of every disk');
      execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', '-E', `offset=${offset}`, path, '24M'], { stdio: 'pipe' });
      const first = identityOf(path);
      assert.equal(identityOf(path), first);
      execFileSync('tune2fs', ['-C', '7', `${path}?offset=${offset}`], { stdio: 'pipe' });
      assert.notEqual(identityOf(path), first);
    });
  }
});
