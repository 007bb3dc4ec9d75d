import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { DeviceSource, type StructureSource } from '../../../agent/export/allocation/source.ts';
import { diskIdentity } from '../../../agent/snapshot/identity.ts';
import { BlockDevice } from '../../../native/block.ts';
import { SysError } from '../../../native/errors.ts';

const MIB = 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'rehost-identity-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const quiet = { stdio: 'pipe' } as const;

function identityOf(path: string, wrap: (source: StructureSource) => StructureSource = (source) => source): string {
  const device = BlockDevice.open(path, { write: false, direct: true });
  const source = new DeviceSource(device, device.sizeBytes);
  try {
    return diskIdentity(wrap(source), 'a serial');
  } finally {
    source.free();
    device.close();
  }
}

/** A disk of 64 MiB with a partition of 30 MiB from 8 MiB on, made by `make` at that offset. */
function diskWith(name: string, make: (path: string, offset: number) => void): string {
  const path = join(folder, name);
  const fd = openSync(path, 'w');
  ftruncateSync(fd, 64 * MIB);
  closeSync(fd);
  execFileSync('sfdisk', ['-q', path], {
    ...quiet,
    input: 'label: gpt\nstart=8M, size=30M, type=L\nsize=10M, type=L\n',
  });
  make(path, 8 * MIB);
  return path;
}

function patch(path: string, offset: number, bytes: Buffer): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}

describe('disk identity', () => {
  const path = diskWith('ext4', (disk, offset) =>
    execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', '-E', `offset=${offset}`, disk, '30M'], quiet),
  );
  const first = identityOf(path);

  it('is the same as long as nothing changes', () => {
    assert.equal(identityOf(path), first);
    assert.match(first, /^[0-9a-f]{64}$/);
  });

  it('is another one when a file system of it was mounted for writing, which its superblock tells', () => {
    const device = `${path}?offset=${8 * MIB}`;
    execFileSync('tune2fs', ['-C', '7', device], quiet);
    const counted = identityOf(path);
    assert.notEqual(counted, first);
    execFileSync('debugfs', ['-w', '-R', 'set_super_value mtime 20300101', device], quiet);
    assert.notEqual(identityOf(path), counted);
  });

  it('is the same when data in the middle changes: that is what the sample is for', () => {
    const before = identityOf(path);
    patch(path, 30 * MIB, Buffer.from('other data'));
    assert.equal(identityOf(path), before);
  });

  it('is another one when either partition table changes', () => {
    const gpt = diskWith('gpt', () => {});
    const before = identityOf(gpt);
    patch(gpt, 64 * MIB - 33 * 512 + 56, Buffer.from('n'));
    const end = identityOf(gpt);
    assert.notEqual(end, before);
    execFileSync('sfdisk', ['-q', '--part-label', gpt, '2', 'renamed'], quiet);
    assert.notEqual(identityOf(gpt), end);
  });

  it('stands on what can be read: an unreadable range takes part as such, elsewhere changes still show', () => {
    const failing = (source: StructureSource): StructureSource => ({
      sizeBytes: source.sizeBytes,
      sectorBytes: source.sectorBytes,
      read: (offset, length) => {
        if (offset >= 60 * MIB) throw new SysError(5, 'pread');
        return source.read(offset, length);
      },
    });
    const before = identityOf(path, failing);
    assert.notEqual(before, identityOf(path));
    execFileSync('tune2fs', ['-C', '9', `${path}?offset=${8 * MIB}`], quiet);
    assert.notEqual(identityOf(path, failing), before);
  });

  it('does not lose sight of a whole end for one bad sector', () => {
    const bad = 512 * 1024;
    const failing = (source: StructureSource): StructureSource => ({
      sizeBytes: source.sizeBytes,
      sectorBytes: source.sectorBytes,
      read: (offset, length) => {
        if (offset <= bad && bad < offset + length) throw new SysError(5, 'pread');
        return source.read(offset, length);
      },
    });
    const before = identityOf(path, failing);
    patch(path, 700 * 1024, Buffer.from('a boot loader of another day'));
    assert.notEqual(identityOf(path, failing), before);
  });

  it('knows disks without a table, and ones smaller than what is looked at', () => {
    const plain = join(folder, 'plain');
    writeFileSync(plain, Buffer.alloc(4096, 1));
    const before = identityOf(plain);
    patch(plain, 4095, Buffer.from([2]));
    assert.notEqual(identityOf(plain), before);
  });
});
