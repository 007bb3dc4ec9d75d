/** Free blocks of XFS against xfs_db's own walk and xfs_repair, which finds what is in use by walking through all inodes. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { buildMap } from '../../../agent/export/allocation/build.ts';
import { DeviceSource, Inconsistent } from '../../../agent/export/allocation/source.ts';
import { xfsFree } from '../../../agent/export/allocation/xfs.ts';
import { BlockDevice } from '../../../native/block.ts';
import {
  bytesAt,
  fragmentXfs,
  mkfsXfs,
  type Pair,
  patch,
  sparse,
  spoil,
  xfsAddress,
  xfsDamage,
  xfsDbFree,
  xfsField,
  xfsLogAddress,
  xfsWrite,
} from '../../lab/xfs.ts';

const MIB = 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'rehost-xfs-'));
after(() => rmSync(folder, { recursive: true, force: true }));
let serial = 0;

function newPath(): string {
  return join(folder, `image-${serial++}`);
}

function made(options: readonly string[], files?: number, bytes = 400 * MIB): string {
  const path = newPath();
  mkfsXfs(folder, path, bytes, options, files);
  return path;
}

function withSource<T>(path: string, use: (source: DeviceSource) => T): T {
  const device = BlockDevice.open(path, { write: false, direct: false });
  const source = new DeviceSource(device, device.sizeBytes);
  try {
    return use(source);
  } finally {
    source.free();
    device.close();
  }
}

function pairs(list: Float64Array): Pair[] {
  return Array.from({ length: list.length / 2 }, (_, i) => [list[2 * i] ?? -1, list[2 * i + 1] ?? -1]);
}

/** The file system's end and its free ranges; Inconsistent is thrown. */
function read(path: string, start = 0): { end: number; free: Pair[] } {
  return withSource(path, (source) => {
    const space = xfsFree(source, start, source.sizeBytes);
    assert.ok(space, 'there is an XFS file system');
    return { end: space.end, free: pairs(space.free) };
  });
}

function reason(path: string, end?: number): string {
  return withSource(path, (source) => {
    try {
      xfsFree(source, 0, end ?? source.sizeBytes);
    } catch (error) {
      if (error instanceof Inconsistent) return error.message;
      throw error;
    }
    return 'it is trusted';
  });
}

/** A disk of 512 MiB with one partition from 3 MiB on, in which the image is. */
function inPartition(inner: string): string {
  const disk = newPath();
  sparse(disk, 512 * MIB);
  execFileSync('sfdisk', ['-q', disk], { input: 'label: gpt\nstart=6144,size=1024000\n', stdio: 'pipe' });
  execFileSync('dd', [`if=${inner}`, `of=${disk}`, 'bs=1M', 'seek=3', 'conv=notrunc,sparse'], { stdio: 'pipe' });
  return disk;
}

const KINDS: Record<string, string[]> = {
  'as Debian makes it': [],
  'version 4': ['-m', 'crc=0'],
  // Small blocks, so that there are blocks of trees to count or not.
  'version 4 without lazy counters': ['-m', 'crc=0', '-l', 'lazy-count=0', '-b', 'size=512'],
  'version 4 with a log of version 1': ['-m', 'crc=0', '-l', 'version=1'],
  'version 4 with blocks of 512 bytes': ['-m', 'crc=0', '-b', 'size=512'],
  'version 5 without what came later': ['-m', 'reflink=0,finobt=0,inobtcount=0,bigtime=0', '-i', 'sparse=0'],
  'blocks of 1 KiB': ['-b', 'size=1024'],
  'blocks and sectors of 2 KiB': ['-b', 'size=2048', '-s', 'size=2048'],
  'blocks of 64 KiB': ['-b', 'size=65536'],
  'sectors of 4 KiB': ['-s', 'size=4096'],
  'reverse mapping tree': ['-m', 'rmapbt=1'],
  'reverse mapping tree, blocks of 1 KiB': ['-m', 'rmapbt=1', '-b', 'size=1024'],
  'stripes for data': ['-d', 'su=64k,sw=4,agcount=4'],
  'stripes for the log': ['-l', 'su=256k'],
  'wide extent counters': ['-i', 'nrext64=1'],
  'many groups': ['-d', 'agcount=12'],
};

describe('XFS free blocks', () => {
  for (const [name, options] of Object.entries(KINDS)) {
    it(`are those of xfs_db, and of no use to xfs_repair: ${name}`, () => {
      const path = newPath();
      // Each group has to have room for the smallest log of mkfs, 64 MiB.
      mkfsXfs(folder, path, 1200 * MIB, options, 400);
      const fresh = read(path);
      assert.deepEqual(fresh.free, xfsDbFree(path));
      assert.equal(fresh.end, 1200 * MIB);
      fragmentXfs(path);
      const { free } = read(path);
      assert.deepEqual(free, xfsDbFree(path));
      assert.ok(free.length > 100, `${free.length} pieces`);
      spoil(path, free);
      assert.equal(xfsDamage(path), undefined);
      rmSync(path);
    });
  }

  const deep: Record<string, { options: string[]; files: number }> = {
    'version 4': { options: ['-m', 'crc=0', '-b', 'size=512'], files: 9000 },
    'version 5': { options: ['-b', 'size=1024'], files: 21_000 },
  };
  for (const [name, { options, files }] of Object.entries(deep)) {
    it(`are read from trees of three levels: ${name}`, () => {
      const path = made(options, files);
      fragmentXfs(path);
      assert.equal(xfsField(path, 'bnolevel', 'agf 0'), 3);
      const { free } = read(path);
      assert.ok(free.length > files / 2 - 500, `${free.length} pieces`);
      assert.deepEqual(free, xfsDbFree(path));
      spoil(path, free);
      assert.equal(xfsDamage(path), undefined);
    });
  }

  it('are the data section only when there is a realtime section on another device', () => {
    const realtime = newPath();
    sparse(realtime, 64 * MIB);
    const path = made(['-r', `rtdev=${realtime}`]);
    assert.ok(xfsField(path, 'rblocks', 'sb 0') > 0);
    assert.deepEqual(read(path).free, xfsDbFree(path));
  });

  it('are found after the UUID was changed, once the log is in order again', () => {
    const path = made([]);
    execFileSync('xfs_admin', ['-U', 'generate', path], { stdio: 'pipe' });
    // What xfs_admin leaves for a log takes the kernel's own search to be called clean.
    assert.match(reason(path), /in the middle of writing/);
    execFileSync('xfs_repair', ['-L', path], { stdio: 'pipe' });
    assert.deepEqual(read(path).free, xfsDbFree(path));
  });

  it('end where the file system ends, in a partition that is larger', () => {
    const inner = made([]);
    const map = withSource(inPartition(inner), buildMap);
    assert.deepEqual(
      map.areas.map(({ found }) => found),
      ['XFS'],
    );
    assert.deepEqual(
      pairs(map.free),
      xfsDbFree(inner).map(([start, end]) => [start + 3 * MIB, end + 3 * MIB]),
    );
    assert.deepEqual(pairs(map.unknown), [
      [0, 3 * MIB],
      [403 * MIB, 512 * MIB],
    ]);
  });

  const foreign: Record<string, (path: string) => void> = {
    'a partition table in the sector of the superblock': (path) =>
      execFileSync('sfdisk', ['-q', '--wipe', 'never', path], {
        input: 'label: dos\nstart=2048,size=8192\n',
        stdio: 'pipe',
      }),
    'a mark of Btrfs': (path) => patch(path, 65536 + 64, Buffer.from('_BHRfS_M')),
    'a mark of md 1.2': (path) => patch(path, 4096, Buffer.from('fc4e2ba9', 'hex')),
    'a mark of swap space': (path) => patch(path, 4086, Buffer.from('SWAPSPACE2')),
  };
  for (const [name, damage] of Object.entries(foreign)) {
    it(`are none with ${name}`, () => {
      const inner = made(['-m', 'crc=0']);
      damage(inner);
      const map = withSource(inPartition(inner), buildMap);
      assert.match(map.areas[0]?.found ?? '', /^unknown: /);
      assert.equal(map.free.length, 0);
    });
  }
});

describe('the log of XFS, a ring', () => {
  /** Writes a log that is full of old blocks and ends with mkfs's own record at block `place`; blocks around the end count anew. */
  function logEndingAt(path: string, place: number, cycle: number): number {
    const at = xfsLogAddress(path);
    const blocks = (xfsField(path, 'logblocks', 'sb 0') * 4096) / 512;
    const record = bytesAt(path, at, 1024);
    const start = place < 0 ? blocks + place : place;
    const log = Buffer.alloc(blocks * 512);
    for (let block = 0; block < blocks; block++) {
      // Before the head the current cycle, behind it the one before.
      log.writeUInt32BE((start + 2) % blocks > block || start + 2 === blocks ? cycle : cycle - 1, block * 512);
    }
    const own = start + 2 > blocks ? cycle - 1 : cycle;
    record.writeUInt32BE(own, 4);
    record.writeUInt32BE(own, 16);
    record.writeUInt32BE(start, 20);
    record.copy(log, start * 512, 0, 512);
    record.writeUInt32BE(cycle, 512);
    record.copy(log, ((start + 1) % blocks) * 512, 512);
    patch(path, at, log);
    return blocks;
  }

  const places = {
    'in the middle': 70_000,
    'shortly behind the beginning': 100,
    'at the end': -2,
    'around the end': -1,
  };
  for (const [name, place] of Object.entries(places)) {
    it(`is clean with an unmount ${name}, and not with any block near it of another cycle`, () => {
      const path = made([]);
      const blocks = logEndingAt(path, place, 7);
      assert.match(execFileSync('xfs_logprint', ['-t', path], { encoding: 'utf8' }), /state: <CLEAN>/);
      assert.equal(reason(path), 'it is trusted');
      for (const distance of [-4000, -513, -3, 3, 512, 4000]) {
        const block = xfsLogAddress(path) + ((place + distance + blocks) % blocks) * 512;
        const before = bytesAt(path, block, 4);
        for (const cycle of [5, 6, 7, 8].filter((other) => other !== before.readUInt32BE(0))) {
          patch(path, block, Buffer.from([0, 0, 0, cycle]));
          assert.match(reason(path), /in the middle of writing/, `cycle ${cycle} ${distance} blocks from the record`);
        }
        patch(path, block, before);
      }
      assert.equal(reason(path), 'it is trusted');
    });
  }
});

/** Byte of the log at which the next record would be written: mkfs's log has one record of two blocks. */
const LOG_HEAD = 1024;

describe('XFS is not trusted', () => {
  const v4 = ['-m', 'crc=0'];
  const cases: Record<string, { options?: string[]; damage: (path: string) => void; reason: RegExp }> = {
    'with a log that does not end with an unmount': {
      damage: (path) => patch(path, xfsLogAddress(path) + 512 + 9, Buffer.from([0])),
      reason: /not unmounted cleanly/,
    },
    'with a log that goes on behind the unmount': {
      damage: (path) => appendRecord(path, LOG_HEAD),
      reason: /not unmounted cleanly/,
    },
    'with a log that was written behind a gap': {
      damage: (path) => appendRecord(path, LOG_HEAD + 4096),
      reason: /in the middle of writing/,
    },
    'with a log that ends in the middle of a record': {
      damage: (path) => patch(path, xfsLogAddress(path) + 512, Buffer.alloc(512)),
      reason: /not complete/,
    },
    'with a log of another file system': {
      damage: (path) => patch(path, xfsLogAddress(path) + 304, Buffer.from([1, 2, 3])),
      reason: /of another file system/,
    },
    'with an empty log': {
      damage: (path) => patch(path, xfsLogAddress(path), Buffer.alloc(1024)),
      reason: /log is empty/,
    },
    'with a log that is none': {
      damage: (path) => patch(path, xfsLogAddress(path), Buffer.alloc(1024, 0x42)),
      reason: /in the middle of writing/,
    },
    'with an unmount record that fails its checksum': {
      damage: (path) => patch(path, xfsLogAddress(path) + 32, Buffer.from([1])),
      reason: /record of its log fails its checksum/,
    },
    'when it needs repair': {
      damage: (path) => xfsWrite(path, 'features_incompat', 0x1b, 'sb 0'),
      reason: /need of repair/,
    },
    'with an unknown incompatible feature': {
      damage: (path) => xfsWrite(path, 'features_incompat', '0x8000000b', 'sb 0'),
      reason: /features that are not known/,
    },
    'with a metadata directory tree': {
      damage: (path) => xfsWrite(path, 'features_incompat', '0x10b', 'sb 0'),
      reason: /features that are not known/,
    },
    'with an unknown read-only compatible feature': {
      damage: (path) => xfsWrite(path, 'features_ro_compat', '0x1d', 'sb 0'),
      reason: /features that are not known/,
    },
    'with an unknown compatible feature': {
      damage: (path) => xfsWrite(path, 'features_compat', '1', 'sb 0'),
      reason: /features that are not known/,
    },
    'with features of the log in use': {
      damage: (path) => xfsWrite(path, 'features_log_incompat', '1', 'sb 0'),
      reason: /log say that it is in use/,
    },
    'with unknown version bits': {
      options: v4,
      damage: (path) => patch(path, 200, Buffer.from('8000000a8000000a', 'hex')),
      reason: /features that are not known/,
    },
    'with version bits that differ between their two places': {
      options: v4,
      damage: (path) => patch(path, 207, Buffer.from([0])),
      reason: /features that are not known/,
    },
    'with an unknown version': {
      options: v4,
      damage: (path) => patch(path, 101, Buffer.from([0xa6])),
      reason: /version 6 is not known/,
    },
    'when mkfs did not finish': {
      damage: (path) => xfsWrite(path, 'inprogress', '1', 'sb 0'),
      reason: /not completed/,
    },
    'with a superblock that fails its checksum': {
      damage: (path) => patch(path, 108, Buffer.from('name')),
      reason: /superblock fails its checksum/,
    },
    'with something behind the superblock of version 4': {
      options: [...v4, '-s', 'size=4096'],
      damage: (path) => patch(path, 1024 + 56, Buffer.from('53ef', 'hex')),
      reason: /something else stands in the sector/,
    },
    'with a copy of its superblock that is another one': {
      options: v4,
      damage: (path) => patch(path, xfsAddress(path, 'sb 2') + 32, Buffer.from([1, 2, 3])),
      reason: /copy of its superblock in group 2/,
    },
    'with a copy of its superblock that fails its checksum': {
      damage: (path) => patch(path, xfsAddress(path, 'sb 3') + 108, Buffer.from('name')),
      reason: /copy of its superblock in group 3/,
    },
    'with data where a group should begin': {
      options: v4,
      damage: (path) => patch(path, xfsAddress(path, 'sb 1'), Buffer.alloc(4096, 0x42)),
      reason: /copy of its superblock in group 1/,
    },
    'with another count of free blocks than its groups': {
      options: v4,
      damage: (path) => xfsWrite(path, 'fdblocks', '1000', 'sb 0'),
      reason: /its superblock says 1000/,
    },
    'with a free space header of another group': {
      damage: (path) => xfsWrite(path, 'seqno', '2', 'agf 1'),
      reason: /header of group 1 is not its own/,
    },
    'with a group of another length': {
      damage: (path) => xfsWrite(path, 'length', '1000', 'agf 3'),
      reason: /header of group 3 is not its own/,
    },
    'with ext4 where the inode header was': {
      options: v4,
      damage: (path) => patch(path, 1024, Buffer.alloc(512, 0x42)),
      reason: /header of group 0 is not its own/,
    },
    'with a free space header that fails its checksum': {
      damage: (path) => patch(path, 512 + 100, Buffer.from([1])),
      reason: /free space header of group 0 fails its checksum/,
    },
    'with an inode header that fails its checksum': {
      damage: (path) => patch(path, 1024 + 36, Buffer.from([1])),
      reason: /inode header of group 0 fails its checksum/,
    },
    'with a free list that fails its checksum': {
      damage: (path) => patch(path, 1536 + 500, Buffer.from([1])),
      reason: /free list of group 0 fails its checksum/,
    },
    'with a free list of another length': {
      damage: (path) => xfsWrite(path, 'flcount', '3', 'agf 0'),
      reason: /free list of group 0 does not agree/,
    },
    'with a header of another file system': {
      damage: (path) => xfsWrite(path, 'uuid', '12345678-1234-1234-1234-123456789012', 'agf 0'),
      reason: /of another file system/,
    },
    'with metadata newer than its log': {
      damage: (path) => xfsWrite(path, 'lsn', '0x900000001', 'agf 0'),
      reason: /newer than its log/,
    },
    'with another count of free blocks in a header': {
      damage: (path) => xfsWrite(path, 'freeblks', xfsField(path, 'freeblks', 'agf 0') + 1, 'agf 0'),
      reason: /not what its header says/,
    },
    'with fewer free blocks in a header': {
      damage: (path) => xfsWrite(path, 'freeblks', xfsField(path, 'freeblks', 'agf 0') - 1, 'agf 0'),
      reason: /is more than the/,
    },
    'with another longest extent in a header': {
      damage: (path) => xfsWrite(path, 'longest', '1', 'agf 0'),
      reason: /not what its header says/,
    },
    'with a tree that fails its checksum': {
      damage: (path) => patch(path, xfsAddress(path, 'agf 1', 'addr bnoroot') + 4000, Buffer.from([1])),
      reason: /free space tree of group 1 fails its checksum/,
    },
    'with a tree by length that fails its checksum': {
      damage: (path) => patch(path, xfsAddress(path, 'agf 1', 'addr cntroot') + 4000, Buffer.from([1])),
      reason: /free space tree of group 1 fails its checksum/,
    },
    'with the tree of another group': {
      damage: (path) => copyBlock(path, 'agf 1', 'agf 2', 'bnoroot'),
      reason: /belongs elsewhere/,
    },
    'with a tree that says it is at another place': {
      damage: (path) => xfsWrite(path, 'bno', 999, 'agf 0', 'addr bnoroot'),
      reason: /belongs elsewhere/,
    },
    'with extents by length that are out of order': {
      damage: (path) => {
        fragmentXfs(path);
        const at = ['agf 0', 'addr cntroot'];
        const [first, second] = [1, 2].map((i) => xfsField(path, `recs[${i}].startblock`, ...at));
        assert.equal(xfsField(path, 'recs[1].blockcount', ...at), xfsField(path, 'recs[2].blockcount', ...at));
        xfsWrite(path, 'recs[1].startblock', second ?? 0, ...at);
        xfsWrite(path, 'recs[2].startblock', first ?? 0, ...at);
      },
      reason: /out of order/,
    },
    'with an extent that reaches behind its group': {
      damage: (path) => {
        for (const root of ['bnoroot', 'cntroot']) {
          const at = ['agf 1', `addr ${root}`];
          // The last of both trees: the longest one, up to the group's end.
          const last = `recs[${xfsField(path, 'numrecs', ...at)}].startblock`;
          xfsWrite(path, last, xfsField(path, last, ...at) + 1, ...at);
        }
      },
      reason: /is not in it/,
    },
    'with another count of tree blocks in a header': {
      damage: (path) => xfsWrite(path, 'btreeblks', 1, 'agf 2'),
      reason: /trees of group 2 have 0 blocks, not 1/,
    },
    'with a tree that leads outside of its group': {
      damage: (path) => xfsWrite(path, 'bnoroot', '0x7fffffff', 'agf 0'),
      reason: /headers of group 0 are not plausible/,
    },
    'with a tree too deep': {
      damage: (path) => xfsWrite(path, 'bnolevel', '200', 'agf 0'),
      reason: /headers of group 0 are not plausible/,
    },
    'with a free extent that was moved in one tree': {
      options: v4,
      damage: (path) => moveExtent(path, 'bnoroot'),
      reason: /differs between its two trees/,
    },
    'with a free extent that was moved onto the trees, in both trees': {
      damage: (path) => moveInBoth(path, xfsField(path, 'bnoroot', 'agf 0')),
      reason: /in use and free/,
    },
    'with a free extent that was moved onto the free list, in both trees': {
      damage: (path) => moveInBoth(path, xfsField(path, 'bno[1]', 'agfl 0')),
      reason: /in use and free/,
    },
    'with a free extent that was moved onto the inode tree, in both trees': {
      damage: (path) => moveInBoth(path, xfsField(path, 'root', 'agi 0')),
      reason: /in use and free/,
    },
    'with extents that are out of order': {
      damage: (path) => {
        fragmentXfs(path);
        const first = xfsField(path, 'recs[1].startblock', 'agf 0', 'addr bnoroot');
        xfsWrite(path, 'recs[2].startblock', first, 'agf 0', 'addr bnoroot');
      },
      reason: /out of order/,
    },
    'with an extent of no blocks': {
      options: v4,
      damage: (path) => xfsWrite(path, 'recs[1].blockcount', '0', 'agf 0', 'addr bnoroot'),
      reason: /is not in it/,
    },
    'with a tree that has a sibling to its root': {
      options: v4,
      damage: (path) => xfsWrite(path, 'rightsib', '50', 'agf 0', 'addr bnoroot'),
      reason: /is torn/,
    },
    'with sizes that are not plausible': {
      options: v4,
      damage: (path) => patch(path, 4, Buffer.from([0, 0, 3, 0])),
      reason: /not plausible/,
    },
    'with a sector size of zero': {
      options: v4,
      damage: (path) => patch(path, 102, Buffer.from([0, 0])),
      reason: /sector size is not plausible/,
    },
    'when the disk is shorter than it': {
      damage: (path) => truncateSync(path, 399 * MIB),
      reason: /not plausible/,
    },
  };
  for (const [name, { options, damage, reason: expected }] of Object.entries(cases)) {
    it(name, () => {
      const path = made(options ?? []);
      assert.equal(reason(path), 'it is trusted');
      damage(path);
      assert.match(reason(path), expected);
      rmSync(path);
    });
  }

  it('when its area ends before it', () => {
    assert.match(reason(made([]), 399 * MIB), /not plausible/);
  });

  it('with its log on another device', () => {
    const log = newPath();
    sparse(log, 100 * MIB);
    assert.match(reason(made(['-l', `logdev=${log},size=64m`])), /log is on another device/);
  });

  it('and does not exist where there is none', () => {
    const path = newPath();
    sparse(path, MIB);
    withSource(path, (source) => {
      assert.equal(xfsFree(source, 0, MIB), undefined);
      assert.equal(xfsFree(source, 0, 100), undefined);
    });
  });

  it('with a torn tree of several levels', () => {
    const original = made(['-m', 'crc=0', '-b', 'size=512'], 2000);
    fragmentXfs(original);
    assert.equal(xfsField(original, 'bnolevel', 'agf 0'), 2);
    const torn: Record<string, [field: string, value: number, ...further: string[]]> = {
      'a pointer that goes twice to the same block': [
        'ptrs[2]',
        xfsField(original, 'ptrs[1]', 'agf 0', 'addr bnoroot'),
      ],
      'a key that is of another block': ['keys[2].startblock', 3],
      'a pointer out of the group': ['ptrs[2]', 0x7ffffff0],
      'a pointer to the tree by length': ['ptrs[1]', xfsField(original, 'cntroot', 'agf 0')],
      'a leaf with another left sibling': ['leftsib', 3, 'addr ptrs[2]'],
      'a leaf with another right sibling': ['rightsib', 3, 'addr ptrs[1]'],
    };
    for (const [name, [field, value, ...further]] of Object.entries(torn)) {
      const path = newPath();
      execFileSync('cp', ['--sparse=always', original, path]);
      xfsWrite(path, field, value, 'agf 0', 'addr bnoroot', ...further);
      assert.match(reason(path), /is torn|is none/, name);
    }
  });
});

/** Puts another record like mkfs's own, but of a transaction, at byte `at` of the log. */
function appendRecord(path: string, at: number): void {
  const log = xfsLogAddress(path);
  const record = bytesAt(path, log, 1024);
  record.writeUInt32BE(at / 512, 20);
  record.writeUInt8(0x69, 512 + 8);
  record.writeUInt8(0, 512 + 9);
  patch(path, log + at, record);
}

function copyBlock(path: string, from: string, to: string, root: string): void {
  const block = bytesAt(path, xfsAddress(path, from, `addr ${root}`), 4096);
  patch(path, xfsAddress(path, to, `addr ${root}`), block);
}

/** Lets the first free extent of group 0 begin at another block. */
function moveInBoth(path: string, block: number): void {
  for (const root of ['bnoroot', 'cntroot']) xfsWrite(path, 'recs[1].startblock', block, 'agf 0', `addr ${root}`);
}

/** Lets the first free extent of group 0 begin a block earlier, in a block that a file uses. */
function moveExtent(path: string, root: string): void {
  const first = xfsField(path, 'recs[1].startblock', 'agf 0', `addr ${root}`);
  xfsWrite(path, 'recs[1].startblock', first - 1, 'agf 0', `addr ${root}`);
}
