/** Allocation maps against mke2fs's own tools: dumpe2fs is the independent reader of the bitmaps. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { buildMap, fullMap } from '../../../agent/export/allocation/build.ts';
import { AllocationMap } from '../../../agent/export/allocation/map.ts';
import { DeviceSource } from '../../../agent/export/allocation/source.ts';
import { BlockDevice } from '../../../native/block.ts';

const MIB = 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'rehost-allocation-'));
after(() => rmSync(folder, { recursive: true, force: true }));
let serial = 0;

function image(bytes: number): string {
  const path = join(folder, `image-${serial++}`);
  const fd = openSync(path, 'w');
  ftruncateSync(fd, bytes);
  closeSync(fd);
  return path;
}

function patch(path: string, offset: number, bytes: Buffer): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}

function mapOf(path: string) {
  const device = BlockDevice.open(path, { write: false, direct: false });
  const source = new DeviceSource(device, device.sizeBytes);
  try {
    return buildMap(source);
  } finally {
    source.free();
    device.close();
  }
}

/** Free ranges by dumpe2fs, joined, bytes from the file system's start. */
function dumpe2fsFree(path: string): [number, number][] {
  const text = execFileSync('dumpe2fs', [path], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    maxBuffer: 1 << 28,
  });
  const blockBytes = Number(/^Block size:\s+(\d+)/m.exec(text)?.[1]);
  // With bigalloc a number names a cluster by its first block.
  const unitBytes = Number(/^Cluster size:\s+(\d+)/m.exec(text)?.[1] ?? blockBytes);
  const ranges: [number, number][] = [];
  for (const line of text.matchAll(/^ {2}Free blocks: (.*)$/gm)) {
    for (const part of (line[1] ?? '').split(', ').filter((one) => one !== '')) {
      const [from = '', to = from] = part.split('-');
      const start = Number(from) * blockBytes;
      const last = ranges.at(-1);
      const end = Number(to) * blockBytes + unitBytes;
      if (last && last[1] === start) last[1] = end;
      else ranges.push([start, end]);
    }
  }
  return ranges;
}

function pairs(list: Float64Array): [number, number][] {
  const result: [number, number][] = [];
  for (let i = 0; i < list.length; i += 2) result.push([list[i] ?? -1, list[i + 1] ?? -1]);
  return result;
}

/** A tree with many small files, made once. */
function tree(): string {
  const path = join(folder, 'tree');
  mkdirSync(path, { recursive: true });
  for (let i = 0; i < 200; i++) writeFileSync(join(path, `file-${i}`), Buffer.alloc(1000 + i * 137, i + 1));
  return path;
}

function mke2fs(path: string, options: string[], size?: string): void {
  const where = size === undefined ? [path] : [path, size];
  execFileSync('mke2fs', ['-q', '-F', '-d', tree(), ...options, ...where], { stdio: ['ignore', 'ignore', 'inherit'] });
}

/** Deletes every other file, so that the free blocks are fragmented. */
function fragment(path: string): void {
  const commands = Array.from({ length: 100 }, (_, i) => `rm file-${2 * i}`).join('\n');
  const script = join(folder, 'debugfs-script');
  writeFileSync(script, commands);
  execFileSync('debugfs', ['-w', '-f', script, path], { stdio: 'ignore' });
}

/** Block of the first group's bitmap, by dumpe2fs. */
function bitmapBlock(path: string): number {
  const text = execFileSync('dumpe2fs', [path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  return Number(/Block bitmap at (\d+)/.exec(text)?.[1]);
}

/** Changes a group's descriptor, and its checksum with it. */
function setGroup(path: string, group: number, fields: Record<string, number>): void {
  const requests = Object.entries(fields).map(([field, value]) => `set_bg ${group} ${field} ${value}`);
  const script = join(folder, 'debugfs-script');
  writeFileSync(script, [...requests, `set_bg ${group} checksum calc`].join('\n'));
  execFileSync('debugfs', ['-w', '-f', script, path], { stdio: 'ignore' });
}

/** Where a group has its structures, by dumpe2fs. */
function groupFields(path: string, group: number): Record<string, number> {
  const text = execFileSync('dumpe2fs', [path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  const own = text.slice(text.indexOf(`Group ${group}:`), text.indexOf(`Group ${group + 1}:`));
  const place = (name: RegExp): number => Number(name.exec(own)?.[1]);
  return {
    block_bitmap: place(/Block bitmap at (\d+)/),
    inode_bitmap: place(/Inode bitmap at (\d+)/),
    inode_table: place(/Inode table at (\d+)/),
  };
}

describe('ext4 free blocks', () => {
  const kinds: Record<string, string[]> = {
    'ext4 as Debian makes it': ['-t', 'ext4'],
    'ext2 with 1 KiB blocks': ['-t', 'ext2', '-b', '1024'],
    'ext3 without checksums': ['-t', 'ext3', '-b', '4096'],
    'ext4 with 1 KiB blocks and 64 bit': ['-t', 'ext4', '-b', '1024', '-O', '64bit,flex_bg'],
    'ext4 without flex_bg and 64bit': ['-t', 'ext4', '-O', '^flex_bg,^64bit,^resize_inode', '-b', '2048'],
    'ext4 with meta_bg': ['-t', 'ext4', '-b', '1024', '-O', 'meta_bg,^resize_inode'],
    'ext4 with uninit_bg in place of metadata_csum': ['-t', 'ext4', '-O', '^metadata_csum,uninit_bg'],
    'ext4 with bigalloc': ['-t', 'ext4', '-O', 'bigalloc', '-C', '65536'],
    'ext4 with sparse_super2': ['-t', 'ext4', '-O', 'sparse_super2,^resize_inode'],
    'ext4 with many small groups': ['-t', 'ext4', '-b', '1024', '-g', '1024', '-N', '4096'],
  };
  for (const [name, options] of Object.entries(kinds)) {
    it(`agrees with dumpe2fs: ${name}`, () => {
      const path = image(300 * MIB);
      mke2fs(path, options);
      fragment(path);
      const map = mapOf(path);
      assert.deepEqual(
        map.areas.map((area) => area.found),
        ['ext4'],
      );
      const expected = dumpe2fsFree(path);
      assert.ok(expected.length > 3, 'the image is fragmented');
      // An uninitialised group keeps its room for descriptors: fewer free blocks than dumpe2fs says are allowed there, more never.
      const ours = pairs(map.free);
      const total = (list: [number, number][]): number => list.reduce((sum, [start, end]) => sum + end - start, 0);
      for (const [start, end] of ours) {
        assert.ok(
          expected.some(([from, to]) => from <= start && end <= to),
          `${start}-${end} is free for dumpe2fs too`,
        );
      }
      assert.ok(total(ours) >= total(expected) - 4 * MIB, `${total(ours)} of ${total(expected)} free bytes found`);
      assert.ok(total(ours) > 200 * MIB);
    });
  }

  it('is exact where every group has its bitmap', () => {
    const path = image(300 * MIB);
    mke2fs(path, ['-t', 'ext4', '-O', '^uninit_bg,^metadata_csum']);
    fragment(path);
    assert.deepEqual(pairs(mapOf(path).free), dumpe2fsFree(path));
  });

  it('keeps the metadata of groups without a bitmap in any order', () => {
    const path = image(300 * MIB);
    mke2fs(path, ['-t', 'ext4', '-O', '^flex_bg,^64bit,^resize_inode', '-b', '2048']);
    const before = mapOf(path);
    const [second, sixth] = [groupFields(path, 2), groupFields(path, 6)];
    setGroup(path, 2, sixth);
    setGroup(path, 6, second);
    assert.deepEqual(groupFields(path, 2), sixth);
    const after = mapOf(path);
    assert.deepEqual(
      after.areas.map(({ found }) => found),
      ['ext4'],
    );
    assert.deepEqual(pairs(after.free), pairs(before.free));
  });

  it('names a journal that needs recovery as the reason', () => {
    const path = image(64 * MIB);
    mke2fs(path, ['-t', 'ext4']);
    execFileSync('debugfs', ['-w', '-R', 'feature needs_recovery', path], { stdio: 'ignore' });
    assert.match(mapOf(path).areas[0]?.found ?? '', /journal needs recovery/);
  });

  it('takes the file system shorter than its partition, and the rest as unknown', () => {
    const path = image(300 * MIB);
    mke2fs(path, ['-t', 'ext4'], '100M');
    const map = mapOf(path);
    assert.deepEqual(pairs(map.unknown), [[100 * MIB, 300 * MIB]]);
    assert.ok(pairs(map.free).every(([, end]) => end <= 100 * MIB));
  });

  const untrusted: Record<string, (path: string) => void> = {
    'needs_recovery set': (path) =>
      execFileSync('debugfs', ['-w', '-R', 'feature needs_recovery', path], { stdio: 'ignore' }),
    'not cleanly unmounted': (path) => patch(path, 1024 + 0x3a, Buffer.from([0, 0])),
    'marked with errors': (path) => patch(path, 1024 + 0x3a, Buffer.from([3, 0])),
    'an unknown incompatible feature': (path) => patch(path, 1024 + 0x63, Buffer.from([0x80])),
    'a size beyond the partition': (path) => patch(path, 1024 + 0x4, Buffer.from([0xff, 0xff, 0xff, 0x7f])),
    'an absurd block size': (path) => patch(path, 1024 + 0x18, Buffer.from([0xff])),
    'no blocks per group': (path) => patch(path, 1024 + 0x20, Buffer.alloc(4)),
    'a bitmap that disagrees with its count': (path) => {
      patch(path, bitmapBlock(path) * 4096 + 2000, Buffer.from([0x55]));
    },
    'a bitmap outside of the file system': (path) => patch(path, 4096, Buffer.from([0xff, 0xff, 0xff, 0x7f])),
    'a partition table in its first sector': (path) =>
      execFileSync('sfdisk', ['-q', '--wipe', 'never', path], {
        input: 'label: dos\nstart=2048,size=8192\n',
        stdio: ['pipe', 'ignore', 'pipe'],
      }),
    'a GPT header in its second sector': (path) => patch(path, 512, Buffer.from('EFI PART')),
    'a copy of a GPT header at its end': (path) => patch(path, 64 * MIB - 512, Buffer.from('EFI PART')),
    'anything in its boot sectors': (path) => patch(path, 1000, Buffer.from([1])),
    'a superblock that fails its checksum': (path) => patch(path, 1024 + 0x78, Buffer.from('other name')),
    'a descriptor that fails its checksum': (path) => patch(path, 4096 + 0x1c, Buffer.from([0x77])),
    'a bitmap that fails its checksum': (path) => {
      const bitmap = bitmapBlock(path) * 4096;
      // The last bits of the padding: not one of the blocks is another than before.
      patch(path, bitmap + 4095, Buffer.from([0x7f]));
    },
    'a mark of hibernated swap space': (path) => patch(path, 4086, Buffer.from('S1SUSPEND')),
    'a mark of ReFS': (path) => patch(path, 0, Buffer.from('\0\0\0ReFS\0')),
    'a mark of F2FS': (path) => patch(path, 5120, Buffer.from('1020f5f2', 'hex')),
    'a mark of NILFS2': (path) => patch(path, 64 * MIB - 4096, Buffer.from('0200000000003434', 'hex')),
    'a mark of GFS2': (path) => patch(path, 65536, Buffer.from('01161970', 'hex')),
    'a mark of OCFS2': (path) => patch(path, 8192, Buffer.from('OCFSV2')),
    'a mark of UFS2': (path) => patch(path, 65536 + 1372, Buffer.from('19015419', 'hex')),
    'a mark of big-endian UFS1': (path) => patch(path, 8192 + 1372, Buffer.from('00011954', 'hex')),
    'a mark of VMFS': (path) => patch(path, 2 * MIB, Buffer.from('5ef1ab2f', 'hex')),
    'a mark of VMFS on its volume': (path) => patch(path, MIB, Buffer.from('0dd001c0', 'hex')),
    'a mark of bcachefs': (path) => patch(path, 4096 + 24, Buffer.from('c68573f666ce90a9', 'hex')),
    'a mark of JFS': (path) => patch(path, 32768, Buffer.from('JFS1')),
    'a mark of ReiserFS': (path) => patch(path, 65536 + 0x34, Buffer.from('ReIsEr2Fs')),
    'a mark of XFS': (path) => patch(path, 0, Buffer.from('XFSB')),
    'a mark of NTFS': (path) => patch(path, 3, Buffer.from('NTFS    ')),
    'a mark of exFAT': (path) => patch(path, 3, Buffer.from('EXFAT   ')),
    'a mark of LUKS2, second header': (path) => patch(path, 0x200000, Buffer.from('SKUL\xba\xbe', 'latin1')),
    'a mark of md 1.2': (path) => patch(path, 4096, Buffer.from('fc4e2ba9', 'hex')),
    'a mark of ZFS at the end': (path) => patch(path, 64 * MIB - 96 * 1024, Buffer.from('0cb1ba0000000000', 'hex')),
    'a mark of LUKS': (path) => patch(path, 0, Buffer.from('LUKS\xba\xbe', 'latin1')),
    'a mark of LVM': (path) => patch(path, 512, Buffer.from('LABELONE')),
    'a mark of Btrfs': (path) => patch(path, 65536 + 64, Buffer.from('_BHRfS_M')),
    'a mark of ZFS': (path) => patch(path, 128 * 1024 + 5 * 1024, Buffer.from('0cb1ba0000000000', 'hex')),
    'a mark of md 1.0 at the end': (path) => patch(path, 64 * MIB - 8192, Buffer.from('fc4e2ba9', 'hex')),
  };
  for (const [name, damage] of Object.entries(untrusted)) {
    it(`frees nothing with ${name}`, () => {
      const path = image(64 * MIB);
      mke2fs(path, ['-t', 'ext4', '-b', '4096']);
      assert.ok(pairs(mapOf(path).free).length > 0);
      damage(path);
      const map = mapOf(path);
      assert.deepEqual(pairs(map.free), []);
      assert.deepEqual(pairs(map.unknown), [[0, 64 * MIB]]);
    });
  }

  const contradictions: Record<string, { options: string[]; damage: (path: string) => void; reason: RegExp }> = {
    'a superblock copy with another UUID': {
      options: ['-t', 'ext4'],
      damage: (path) => patch(path, 128 * MIB + 0x68, Buffer.from([1, 2, 3])),
      reason: /copy of its superblock in group 1 is another one/,
    },
    'data where the copy in group 3 should be': {
      options: ['-t', 'ext4'],
      damage: (path) => patch(path, 384 * MIB, Buffer.alloc(4096, 0x42)),
      reason: /copy of its superblock in group 3 is another one/,
    },
    'another count of free blocks than its groups': {
      options: ['-t', 'ext3'],
      damage: (path) => patch(path, 1024 + 0xc, Buffer.from([1, 0])),
      reason: /its groups have \d+ free blocks, its superblock says/,
    },
    'a group without a bitmap and no checksums': {
      options: ['-t', 'ext3'],
      damage: (path) => patch(path, 4096 + 32 + 0x12, Buffer.from([2])),
      reason: /group 1 has no bitmap, and nothing vouches for that/,
    },
    'a damaged descriptor under uninit_bg': {
      options: ['-t', 'ext4', '-O', '^metadata_csum,uninit_bg'],
      damage: (path) => patch(path, 4096 + 64 + 0x1c, Buffer.from([0x77])),
      reason: /descriptor of group 1 fails its checksum/,
    },
    'a group said to have no bitmap by a descriptor that fails its checksum': {
      options: ['-t', 'ext4'],
      damage: (path) => patch(path, 4096 + 0x12, Buffer.from([6])),
      reason: /descriptor of group 0 fails its checksum/,
    },
    'an inode table outside of the file system, and a checksum that holds': {
      options: ['-t', 'ext4'],
      damage: (path) => setGroup(path, 1, { inode_table: 4_000_000_000 }),
      reason: /group 1 has its metadata outside/,
    },
    'a bitmap outside of the file system where none is needed, and a checksum that holds': {
      options: ['-t', 'ext4'],
      damage: (path) => setGroup(path, 2, { block_bitmap: 131_072 }),
      reason: /group 2 has its metadata outside/,
    },
  };
  for (const [name, { options, damage, reason }] of Object.entries(contradictions)) {
    it(`frees nothing with ${name}`, () => {
      const path = image(512 * MIB);
      mke2fs(path, ['-b', '4096', ...options]);
      assert.ok(pairs(mapOf(path).free).length > 0);
      damage(path);
      const map = mapOf(path);
      assert.match(map.areas[0]?.found ?? '', reason);
      assert.deepEqual(pairs(map.free), []);
    });
  }

  it('trusts one whose UUID was changed and that was made larger', () => {
    const path = image(400 * MIB);
    mke2fs(path, ['-t', 'ext4', '-b', '4096'], '200M');
    execFileSync('tune2fs', ['-U', 'random', path], { stdio: 'ignore' });
    execFileSync('e2fsck', ['-f', '-p', path], { stdio: 'ignore' });
    execFileSync('resize2fs', [path], { stdio: 'ignore' });
    assert.deepEqual(
      mapOf(path).areas.map((area) => [area.end, area.found]),
      [[400 * MIB, 'ext4']],
    );
  });

  it('frees nothing of a partition that is the raw disk of another machine now', () => {
    const inner = image(300 * MIB);
    mke2fs(inner, ['-t', 'ext4', '-b', '4096']);
    execFileSync('sfdisk', ['-q', '--wipe', 'never', inner], {
      input: 'label: dos\nstart=409600,size=102400\n',
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    patch(inner, 250 * MIB, Buffer.alloc(MIB, 0x42));
    const disk = image(400 * MIB);
    execFileSync('sfdisk', ['-q', disk], {
      input: 'label: gpt\nstart=2048,size=614400\n',
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    execFileSync('dd', [`if=${inner}`, `of=${disk}`, 'bs=1M', 'seek=1', 'conv=notrunc,sparse'], { stdio: 'ignore' });
    const map = mapOf(disk);
    assert.deepEqual(
      map.areas.map((area) => area.found),
      ['unknown: a partition table of its own'],
    );
    assert.deepEqual(pairs(map.free), []);
  });

  it('never throws and never frees outside of the disk on random superblocks', () => {
    const path = image(8 * MIB);
    mke2fs(path, ['-t', 'ext4', '-b', '1024']);
    let state = 12345;
    const random = (below: number): number => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return (state >>> 8) % below;
    };
    for (let round = 0; round < 300; round++) {
      // Superblock and first descriptors; the magic stays often enough.
      patch(path, 1024 + random(3072), Buffer.from([random(256), random(256), random(256)].slice(0, 1 + random(3))));
      const map = mapOf(path);
      for (const [start, end] of pairs(map.free)) assert.ok(start >= 0 && start < end && end <= 8 * MIB);
      if (round % 20 === 19) mke2fs(path, ['-t', 'ext4', '-b', '1024']);
    }
  });
});

describe('swap', () => {
  it('keeps the first page of a swap partition and frees the rest', () => {
    const path = image(16 * MIB);
    execFileSync('mkswap', ['-L', 'lab', path], { stdio: 'ignore' });
    const map = mapOf(path);
    assert.deepEqual(pairs(map.free), [[4096, 16 * MIB]]);
    assert.deepEqual(
      map.areas.map((area) => area.found),
      ['swap'],
    );
  });

  it('frees nothing of one that has the magic of ext4', () => {
    const path = image(16 * MIB);
    execFileSync('mkswap', [path], { stdio: 'ignore' });
    patch(path, 1024 + 0x38, Buffer.from('53ef', 'hex'));
    assert.deepEqual(pairs(mapOf(path).free), []);
  });

  it('frees nothing of a hibernated one', () => {
    const path = image(16 * MIB);
    execFileSync('mkswap', [path], { stdio: 'ignore' });
    patch(path, 4086, Buffer.from('S1SUSPEND\0'));
    assert.deepEqual(pairs(mapOf(path).free), []);
  });
});

describe('a full map', () => {
  it('has no free byte, and leaves all of it to be read', () => {
    const map = new AllocationMap(fullMap(10 * MIB));
    assert.deepEqual([...map.extents(0, 10 * MIB)], [{ start: 0, end: 10 * MIB, state: 'unknown' }]);
  });
});

describe('partition tables', () => {
  function sfdisk(path: string, script: string): void {
    execFileSync('sfdisk', ['-q', path], { input: script, stdio: ['pipe', 'ignore', 'pipe'] });
  }
  function fill(path: string, partition: string, at: number): void {
    // The same bytes as the partition's start, so that only the table decides where they lie.
    execFileSync('dd', [`if=${partition}`, `of=${path}`, 'bs=1M', `seek=${at / MIB}`, 'conv=notrunc,sparse'], {
      stdio: 'ignore',
    });
  }
  function part(): string {
    const path = image(32 * MIB);
    mke2fs(path, ['-t', 'ext4', '-b', '4096']);
    return path;
  }

  for (const label of ['gpt', 'dos']) {
    it(`finds ext4 and swap behind a ${label} table`, () => {
      const path = image(128 * MIB);
      sfdisk(path, `label: ${label}\nstart=2048,size=65536\nstart=67584,size=65536\nstart=133120,size=16384\n`);
      const ext4 = part();
      const swap = image(32 * MIB);
      execFileSync('mkswap', [swap], { stdio: 'ignore' });
      fill(path, ext4, MIB);
      fill(path, swap, 33 * MIB);
      const map = mapOf(path);
      assert.deepEqual(
        map.areas.map((area) => area.found),
        ['ext4', 'swap', 'unknown'],
      );
      const expected = pairs(mapOf(ext4).free).map(([start, end]) => [start + MIB, end + MIB]);
      assert.deepEqual(pairs(map.free), [...expected, [33 * MIB + 4096, 65 * MIB]]);
      assert.deepEqual(pairs(map.unknown), [
        [0, MIB],
        [65 * MIB, 128 * MIB],
      ]);
    });
  }

  it('follows logical partitions', () => {
    const path = image(128 * MIB);
    sfdisk(
      path,
      'label: dos\nstart=2048,size=2048\nstart=4096,type=5\nstart=6144,size=65536\nstart=73728,size=65536\n',
    );
    fill(path, part(), 3 * MIB);
    fill(path, part(), 36 * MIB);
    assert.deepEqual(
      mapOf(path).areas.map((area) => [area.start, area.found]),
      [
        [MIB, 'unknown'],
        [3 * MIB, 'ext4'],
        [36 * MIB, 'ext4'],
      ],
    );
  });

  const broken: Record<string, (path: string) => void> = {
    'a GPT header with a flipped bit': (path) => patch(path, 512 + 40, Buffer.from([0x99])),
    'a GPT entry with a flipped bit': (path) => patch(path, 1024 + 60, Buffer.from([0x99])),
    'a GPT without its header': (path) => patch(path, 512, Buffer.alloc(512)),
    // What looks like the disk's table is that of an array of which it is a part.
    'the mark of an md array over the whole disk': (path) =>
      patch(path, 64 * MIB - 8192, Buffer.from('fc4e2ba9', 'hex')),
    'the mark of a firmware RAID over the whole disk': (path) =>
      patch(path, 64 * MIB - 1024, Buffer.from('Intel Raid ISM Cfg Sig. ')),
  };
  for (const [name, damage] of Object.entries(broken)) {
    it(`frees nothing with ${name}`, () => {
      const path = image(64 * MIB);
      sfdisk(path, 'label: gpt\nstart=2048,size=65536\n');
      fill(path, part(), MIB);
      assert.ok(mapOf(path).free.length > 0);
      damage(path);
      const map = mapOf(path);
      assert.equal(map.free.length, 0);
      assert.deepEqual(pairs(map.unknown), [[0, 64 * MIB]]);
    });
  }

  it('ends a chain of extended partitions that turns back', () => {
    const path = image(64 * MIB);
    sfdisk(path, 'label: dos\nstart=2048,type=5\nstart=4096,size=2048\n');
    const link = Buffer.alloc(16);
    link.writeUInt8(5, 4);
    link.writeUInt32LE(0, 8);
    link.writeUInt32LE(2048, 12);
    patch(path, 2048 * 512 + 446 + 16, link);
    assert.match(mapOf(path).areas[0]?.found ?? '', /out of its order/);
  });

  it('answers extents in order and without gaps', () => {
    const path = image(32 * MIB);
    mke2fs(path, ['-t', 'ext4', '-b', '4096']);
    const map = new AllocationMap(mapOf(path));
    let at = 5000;
    for (const extent of map.extents(5000, 20 * MIB)) {
      assert.equal(extent.start, at);
      assert.ok(extent.end > extent.start);
      at = extent.end;
    }
    assert.equal(at, 5000 + 20 * MIB);
  });
});
