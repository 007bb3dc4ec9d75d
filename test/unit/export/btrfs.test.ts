/** Free space of btrfs against btrfs-progs: dump-tree reads the same trees independently, check and restore see the result. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { btrfsFree } from '../../../agent/export/allocation/btrfs.ts';
import { buildMap } from '../../../agent/export/allocation/build.ts';
import { DeviceSource, Inconsistent } from '../../../agent/export/allocation/source.ts';
import { BlockDevice } from '../../../native/block.ts';
import { SysError } from '../../../native/errors.ts';
import {
  assertClean,
  dumpChunks,
  dumpSuper,
  dumpTreeFree,
  MIB,
  mapOf,
  nodes,
  pairs,
  patch,
  peek,
  physical,
  reseal,
  resealSuper,
  run,
  scribble,
  sparse,
} from '../../lab/btrfs.ts';

const folder = mkdtempSync(join(tmpdir(), 'rehost-btrfs-'));
after(() => rmSync(folder, { recursive: true, force: true }));
let serial = 0;

/** Files of all sizes: in the leaves, a few blocks, many MiB. Enough of them for trees of two levels. */
function tree(): string {
  const path = join(folder, 'tree');
  if (mkdirSync(path, { recursive: true }) === undefined) return path;
  for (let i = 0; i < 600; i++) {
    mkdirSync(join(path, `d${i % 7}`), { recursive: true });
    writeFileSync(join(path, `d${i % 7}`, `file-${i}`), Buffer.alloc((i * i * 7) % 60_000, i + 1));
  }
  writeFileSync(join(path, 'large'), Buffer.alloc(9 * MIB, 'large'));
  return path;
}

function image(options: string[] = [], bytes = 256 * MIB): string {
  const path = join(folder, `image-${serial++}`);
  sparse(path, bytes);
  run('mkfs.btrfs', ['--rootdir', tree(), ...options, path]);
  return path;
}

/** Made by fixtures/btrfs-block-group-tree.sh: the tools of Debian 12 read this, but do not write it. */
function withBlockGroupTree(): string {
  const path = join(folder, `image-${serial++}`);
  const fixture = join(import.meta.dirname, 'fixtures/btrfs-block-group-tree.img.zst');
  run('zstd', ['-q', '-d', '--long=27', '--sparse', fixture, '-o', path]);
  return path;
}

/** One image for all tests that damage a copy of it. */
const plain = image(['-n', '4096']);
function copy(): string {
  const path = join(folder, `image-${serial++}`);
  // Only its holes keep the many copies cheap.
  execFileSync('cp', ['--sparse=always', plain, path]);
  return path;
}

describe('btrfs free space', () => {
  const kinds: Record<string, { options: string[]; bytes?: number }> = {
    'as Debian makes it': { options: [] },
    'one copy of the metadata': { options: ['-m', 'single'] },
    'two copies of the data': { options: ['-d', 'dup'], bytes: 1024 * MIB },
    'data and metadata mixed': { options: ['-M'] },
    'nodes of 4 KiB': { options: ['-n', '4096'] },
    'nodes of 64 KiB': { options: ['-n', '65536'] },
    'sectors of 64 KiB': { options: ['-s', '65536', '-n', '65536'], bytes: 2048 * MIB },
    'extent items in place of metadata items': { options: ['-O', '^skinny-metadata'] },
    'no free space tree': { options: ['-R', '^free-space-tree'] },
    quotas: { options: ['-R', 'quota'] },
    'xxhash64 checksums': { options: ['--csum', 'xxhash'] },
    'SHA-256 checksums': { options: ['--csum', 'sha256'] },
  };
  for (const [name, { options, bytes }] of Object.entries(kinds)) {
    it(`agrees with dump-tree: ${name}`, () => {
      const path = image(options, bytes);
      const map = mapOf(path);
      assert.deepEqual(
        map.areas.map((area) => area.found),
        ['Btrfs'],
      );
      const expected = dumpTreeFree(path);
      assert.ok(expected.length > 3);
      assert.deepEqual(pairs(map.free), expected);
    });
  }

  it('agrees with dump-tree when its metadata has another UUID than the file system', () => {
    const path = image();
    run('btrfstune', ['-m', path]);
    const map = mapOf(path);
    assert.equal(map.areas[0]?.found, 'Btrfs');
    assert.deepEqual(pairs(map.free), dumpTreeFree(path));
  });

  it('agrees with dump-tree on an ext4 that was converted', () => {
    const path = join(folder, `image-${serial++}`);
    sparse(path, 512 * MIB);
    execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', '-b', '4096', '-d', tree(), path], { stdio: 'ignore' });
    run('btrfs-convert', [path]);
    const map = mapOf(path);
    assert.equal(map.areas[0]?.found, 'Btrfs');
    assert.deepEqual(pairs(map.free), dumpTreeFree(path));
  });

  it('agrees with dump-tree where block groups have a tree of their own', () => {
    const path = withBlockGroupTree();
    const map = mapOf(path);
    assert.equal(map.areas[0]?.found, 'Btrfs');
    const free = pairs(map.free);
    assert.ok(free.length > 100);
    assert.deepEqual(free, dumpTreeFree(path));
    scribble(path, free);
    assertClean(path);
  });

  it('keeps the third superblock of a large one', () => {
    const path = image([], 300 * 1024 * MIB);
    const { free } = mapOf(path);
    assert.deepEqual(pairs(free), dumpTreeFree(path));
    assert.ok(pairs(free).some(([, end]) => end === 256 * 1024 * MIB));
  });

  it('takes the file system shorter than its partition, the rest as unknown, and places relative to it', () => {
    const path = join(folder, `image-${serial++}`);
    sparse(path, 400 * MIB);
    execFileSync('sfdisk', ['-q', path], {
      input: 'label: gpt\nstart=6144,size=614400\n',
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    execFileSync('dd', [`if=${plain}`, `of=${path}`, 'bs=1M', 'seek=3', 'conv=notrunc,sparse'], { stdio: 'ignore' });
    const map = mapOf(path);
    assert.equal(map.areas[0]?.found, 'Btrfs');
    assert.deepEqual(
      pairs(map.free),
      dumpTreeFree(plain).map(([start, end]) => [start + 3 * MIB, end + 3 * MIB]),
    );
    assert.deepEqual(pairs(map.unknown), [
      [0, 3 * MIB],
      [3 * MIB + dumpSuper(plain, 'total_bytes'), 400 * MIB],
    ]);
  });

  it('frees nothing that the file system needs: with all of it overwritten it is clean and has its files', () => {
    for (const options of [[], ['-m', 'single'], ['-M']]) {
      const path = image(options);
      const free = pairs(mapOf(path).free);
      assert.ok(free.reduce((sum, [start, end]) => sum + end - start, 0) > 80 * MIB);
      scribble(path, free);
      assertClean(path);
      const restored = join(folder, `restored-${serial++}`);
      mkdirSync(restored);
      run('btrfs', ['restore', path, restored]);
      execFileSync('diff', ['-r', tree(), restored]);
    }
  });
});

describe('a btrfs that is not understood', () => {
  const FLAGS = 0x38;
  const INCOMPAT = 0xbc;
  const superblocks: Record<string, { change: (block: Buffer) => void; reason: RegExp }> = {
    'a log to be replayed': { change: (b) => b.writeUInt32LE(30_000_000, 0x60), reason: /log to be replayed/ },
    'two devices': { change: (b) => b.writeUInt8(2, 0x88), reason: /more than one device/ },
    'an error noted': { change: (b) => b.writeUInt8(1 | 4, FLAGS), reason: /flags that are not known/ },
    'the mark of a seed': { change: (b) => b.writeUInt8(1, FLAGS + 4), reason: /flags that are not known/ },
    'half a change of its UUID': { change: (b) => b.writeUInt8(8, FLAGS + 4), reason: /flags that are not known/ },
    'RAID 5': { change: (b) => b.writeUInt8(0x80, INCOMPAT), reason: /features that are not known/ },
    zones: { change: (b) => b.writeUInt8(0x10 | 1, INCOMPAT + 1), reason: /features that are not known/ },
    'extent tree v2': { change: (b) => b.writeUInt8(0x20 | 1, INCOMPAT + 1), reason: /features that are not known/ },
    'a RAID stripe tree': {
      change: (b) => b.writeUInt8(0x40 | 1, INCOMPAT + 1),
      reason: /features that are not known/,
    },
    'a feature beyond the first 32': {
      change: (b) => b.writeUInt8(1, INCOMPAT + 4),
      reason: /features that are not known/,
    },
    'a read-only feature': { change: (b) => b.writeUInt8(0x10, 0xb4), reason: /features that are not known/ },
    'a compatible feature': { change: (b) => b.writeUInt8(1, 0xac), reason: /features that are not known/ },
    'a size beyond its disk': {
      change: (b) => {
        b.writeBigUInt64LE(b.readBigUInt64LE(0x70) + 4096n, 0x70);
        b.writeBigUInt64LE(b.readBigUInt64LE(0xc9 + 8) + 4096n, 0xc9 + 8);
      },
      reason: /larger than what it is on/,
    },
    'two sizes': { change: (b) => b.writeUInt8(1, 0x73), reason: /not plausible/ },
    'absurd nodes': { change: (b) => b.writeUInt32LE(0x80000000, 0x94), reason: /not plausible/ },
    'too long a list of system chunks': { change: (b) => b.writeUInt32LE(2049, 0xa0), reason: /not plausible/ },
    'another UUID than its device': {
      change: (b) => b.writeUInt8(b.readUInt8(0x20) ^ 1, 0x20),
      reason: /not plausible/,
    },
    'half a list of system chunks': { change: (b) => b.writeUInt32LE(100, 0xa0), reason: /list of system chunks/ },
    'another kind in its list of system chunks': {
      change: (b) => b.writeUInt8(0x24, 0x32b + 17 + 24),
      reason: /list of system chunks names another/,
    },
    'another place of a system chunk': {
      change: (b) => b.writeUInt8(b.readUInt8(0x32b + 17 + 48 + 8 + 32 + 2) ^ 0x10, 0x32b + 17 + 48 + 8 + 32 + 2),
      reason: /system chunk \d+ is another/,
    },
    'an older generation than its root': {
      change: (b) => b.writeUInt32LE(b.readUInt32LE(0x48) - 1, 0x48),
      reason: /not the node that its parent names|not plausible/,
    },
    'another sum of used bytes': {
      change: (b) => b.writeUInt32LE(b.readUInt32LE(0x78) + 4096, 0x78),
      reason: /used bytes, its superblock says/,
    },
    'fewer used bytes than its trees have': {
      change: (b) => b.writeUInt32LE(4 * 4096, 0x78),
      reason: /more nodes than there are/,
    },
    'another sum of chunks': {
      change: (b) => b.writeUInt32LE(b.readUInt32LE(0xc9 + 16) - 4096, 0xc9 + 16),
      reason: /another device/,
    },
    'a block group tree that it does not have': {
      change: (b) => b.writeUInt8(0xb, 0xb4),
      reason: /its trees are not those/,
    },
  };
  for (const [name, { change, reason }] of Object.entries(superblocks)) {
    it(`frees nothing with ${name}`, () => {
      const path = copy();
      resealSuper(path, change);
      const map = mapOf(path);
      assert.match(map.areas[0]?.found ?? '', reason);
      assert.deepEqual(pairs(map.free), []);
      assert.deepEqual(pairs(map.unknown), [[0, 256 * MIB]]);
    });
  }

  const HEADER = 101;
  /** Changes a leaf of the tree that has an item of this type, where the first such item's header is and where its data. */
  function changeItem(
    tree: string,
    type: number,
    change: (leaf: Buffer, key: number, data: number) => void,
    accept = (_leaf: Buffer, _key: number): boolean => true,
  ) {
    return (path: string): void => {
      const nodeBytes = dumpSuper(path, 'nodesize');
      for (const logical of nodes(path, tree, 0)) {
        const at = physical(path, logical);
        const leaf = peek(path, at, nodeBytes);
        for (let i = 0; i < leaf.readUInt32LE(96); i++) {
          const key = HEADER + 25 * i;
          if (leaf.readUInt8(key + 8) !== type || !accept(leaf, key)) continue;
          reseal(path, at, nodeBytes, (block) => change(block, key, HEADER + block.readUInt32LE(key + 17)));
          return;
        }
      }
      assert.fail(`tree ${tree} has no item of type ${type}`);
    };
  }
  function changeNode(tree: string, level: number, change: (node: Buffer) => void) {
    return (path: string): void => {
      const [logical] = nodes(path, tree, level);
      assert.ok(logical !== undefined, `tree ${tree} has level ${level}`);
      reseal(path, physical(path, logical), 4096, change);
    };
  }
  const add = (block: Buffer, at: number, by: number): number => block.writeUInt32LE(block.readUInt32LE(at) + by, at);

  /** An extent of 16 KiB at least that is not its leaf's first item: its key can change a little. */
  const inner = (leaf: Buffer, key: number): boolean => key > HEADER && leaf.readUInt32LE(key + 9) >= 16384;

  /** Takes the first item out of a leaf, in order: the data of the others moves up to the end. */
  function dropFirst(leaf: Buffer): void {
    const count = leaf.readUInt32LE(96);
    const size = leaf.readUInt32LE(HEADER + 21);
    const lowest = HEADER + leaf.readUInt32LE(HEADER + 25 * (count - 1) + 17);
    leaf.copyWithin(lowest + size, lowest, leaf.length - size);
    leaf.copyWithin(HEADER, HEADER + 25, HEADER + 25 * count);
    leaf.writeUInt32LE(count - 1, 96);
    for (let i = 0; i < count - 1; i++) add(leaf, HEADER + 25 * i + 17, size);
  }

  /** Makes an item one of a replacement in this state. */
  function replacing(state: number) {
    return (block: Buffer, key: number, data: number): void => {
      block.writeUInt8(250, key + 8);
      block.writeBigUInt64LE(BigInt(state), data + 32);
    };
  }

  const trees: Record<string, { damage: (path: string) => void; reason: RegExp }> = {
    'a copy of the superblock of an earlier commit': {
      damage: (path) => reseal(path, 64 * MIB, 4096, (b) => add(b, 0x48, -1)),
      reason: /copy of its superblock at 67108864 is another/,
    },
    'a copy of the superblock that fails its checksum': {
      damage: (path) => patch(path, 64 * MIB, Buffer.from([1, 2, 3, 4])),
      reason: /copy of its superblock at 67108864 is another/,
    },
    'a copy of the superblock that says to be the first': {
      damage: (path) => patch(path, 64 * MIB, peek(path, 65536, 4096)),
      reason: /copy of its superblock at 67108864 is another/,
    },
    'no copy of the superblock': {
      damage: (path) => patch(path, 64 * MIB, Buffer.alloc(4096)),
      reason: /copy of its superblock at 67108864 is another/,
    },
    'a superblock that fails its checksum': {
      damage: (path) => patch(path, 65536 + 0x200, Buffer.from('name')),
      reason: /superblock fails its checksum/,
    },
    'a node that fails its checksum': {
      damage: (path) => patch(path, physical(path, nodes(path, 'extent', 0).at(-1) ?? 0) + 4000, Buffer.from('other')),
      reason: /tree 2: it fails its checksum/,
    },
    'a leaf of an earlier commit': {
      damage: changeNode('extent', 0, (b) => add(b, 80, -1)),
      reason: /not the node that its parent names/,
    },
    'a leaf of another file system': {
      damage: changeNode('extent', 0, (b) => b.writeUInt8(b.readUInt8(40) ^ 1, 40)),
      reason: /not the node that its parent names/,
    },
    'a leaf of another place': {
      damage: changeNode('extent', 0, (b) => add(b, 48, 4096)),
      reason: /not the node that its parent names/,
    },
    'a leaf of another tree': {
      damage: changeNode('extent', 0, (b) => b.writeUInt8(7, 88)),
      reason: /not the node that its parent names/,
    },
    'a leaf that was never written': {
      damage: changeNode('extent', 0, (b) => b.writeUInt8(0, 56)),
      reason: /not the node that its parent names/,
    },
    'a leaf in place of a node': {
      damage: changeNode('extent', 1, (b) => b.writeUInt8(0, 100)),
      reason: /not the node that its parent names/,
    },
    'a pointer twice': {
      damage: changeNode('extent', 1, (b) => b.copy(b, HEADER + 33, HEADER, HEADER + 33)),
      reason: /its keys do not ascend/,
    },
    'a pointer with another key': {
      damage: changeNode('extent', 1, (b) => add(b, HEADER + 33, 4096)),
      reason: /its first key is another/,
    },
    'a pointer to outside of all chunks': {
      damage: changeNode('extent', 1, (b) => b.writeUInt32LE(4096, HEADER + 33 + 21)),
      reason: /in no chunk for metadata/,
    },
    'a pointer into a chunk for data': {
      damage: (path) => {
        const [data] = dumpChunks(path);
        changeNode('extent', 1, (b) => b.writeUInt32LE(data?.logical ?? 0, HEADER + 33 + 17))(path);
      },
      reason: /in no chunk for metadata/,
    },
    'a pointer newer than its node': {
      damage: changeNode('extent', 1, (b) => add(b, HEADER + 25, 1)),
      reason: /a pointer is newer/,
    },
    'more pointers than fit': {
      damage: changeNode('extent', 1, (b) => b.writeUInt32LE(200, 96)),
      reason: /too many pointers/,
    },
    'more items than fit': {
      damage: changeNode('extent', 0, (b) => b.writeUInt32LE(1_000_000, 96)),
      reason: /too many items/,
    },
    'items that overlap': {
      damage: changeNode('extent', 0, (b) => add(b, HEADER + 25 + 17, 8)),
      reason: /its items overlap/,
    },
    'items that reach out of their leaf': {
      damage: changeNode('extent', 0, (b) => b.writeUInt32LE(0xffffff00, HEADER + 17)),
      reason: /its items overlap/,
    },
    'no items in a leaf': {
      damage: changeNode('extent', 0, (b) => b.writeUInt32LE(0, 96)),
      reason: /it has no items/,
    },
    'one extent item less': {
      damage: changeNode('extent', 0, (b) => add(b, 96, -1)),
      reason: /used bytes, its item says|in no extent/,
    },
    'a shorter extent': {
      damage: changeItem('extent', 168, (b, key) => add(b, key + 9, -4096), inner),
      reason: /used bytes, its item says/,
    },
    'an extent that begins within a sector': {
      damage: changeItem(
        'extent',
        168,
        (b, key) => {
          add(b, key, 2048);
          add(b, key + 9, -4096);
        },
        inner,
      ),
      reason: /out of place/,
    },
    'an extent that begins within the one before': {
      damage: changeItem('extent', 168, (b, key) => add(b, key, -4096), inner),
      reason: /out of place/,
    },
    'an extent that ends behind its chunk': {
      damage: changeItem('extent', 168, (b, key) => b.writeUInt32LE(2 ** 30, key + 9), inner),
      reason: /of 1073741824 bytes is out of place/,
    },
    'a tree node of an unknown kind': {
      damage: changeItem('extent', 169, (b, _key, data) => b.writeUInt8(2 | 4, data + 16)),
      reason: /of a wrong kind/,
    },
    'an extent of an unknown kind': {
      damage: changeItem('extent', 168, (b, _key, data) => b.writeUInt8(0, data + 16)),
      reason: /of a wrong kind/,
    },
    'a tree node said to be data': {
      damage: changeItem('extent', 169, (b, _key, data) => b.writeUInt8(1, data + 16)),
      reason: /of a wrong kind/,
    },
    'an unknown item in the extent tree': {
      damage: changeItem(
        'extent',
        169,
        (b, key) => b.writeUInt8(170, key + 8),
        (_leaf, key) => key > HEADER,
      ),
      reason: /item of type 170/,
    },
    'another sum in a block group': {
      damage: changeItem('extent', 192, (b, _key, data) => add(b, data, 4096)),
      reason: /used bytes, its item says/,
    },
    'another length of a block group': {
      damage: changeItem('extent', 192, (b, key) => add(b, key + 9, 65536)),
      reason: /has no such chunk/,
    },
    'another profile of a block group': {
      damage: changeItem('extent', 192, (b, _key, data) => b.writeUInt8(0x10, data + 16)),
      reason: /has no such chunk/,
    },
    'RAID 1 in a chunk': {
      damage: changeItem('chunk', 228, (b, _key, data) => b.writeUInt8(0x11, data + 24)),
      reason: /its profile \(flags 17\) is not known/,
    },
    'a chunk on another device': {
      damage: changeItem('chunk', 228, (b, _key, data) => b.writeUInt8(2, data + 48)),
      reason: /on another device/,
    },
    'a chunk behind the end of its device': {
      damage: changeItem('chunk', 228, (b, _key, data) => b.writeUInt8(1, data + 48 + 8 + 4)),
      reason: /not on its device/,
    },
    'a chunk that reaches into the next one': {
      damage: changeItem('chunk', 228, (b, _key, data) => add(b, data, 65536)),
      reason: /chunk \d+ overlaps another$/,
    },
    'a chunk where another is on the device': {
      damage: (path) => {
        const [first, second] = dumpChunks(path);
        assert.ok(first && second?.stripes[0] !== undefined);
        const by = second.stripes[0] - (first.stripes[0] ?? 0);
        changeItem('chunk', 228, (b, _key, data) => add(b, data + 48 + 8, by))(path);
      },
      reason: /overlaps another on the device/,
    },
    'a chunk elsewhere than its device extent': {
      damage: changeItem('chunk', 228, (b, _key, data) => add(b, data + 48 + 8, -65536)),
      reason: /device extent \d+ belongs to no chunk/,
    },
    'an unknown item in the chunk tree': {
      damage: changeItem('chunk', 228, (b, key) => b.writeUInt8(229, key + 8)),
      reason: /item of type 229/,
    },
    'another device in the chunk tree': {
      damage: changeItem('chunk', 216, (b, _key, data) => b.writeUInt8(b.readUInt8(data + 70) ^ 1, data + 70)),
      reason: /another device/,
    },
    'no device in the chunk tree': {
      damage: changeNode('chunk', 0, (b) => dropFirst(b)),
      reason: /chunk tree has 0 devices/,
    },
    'another sum of chunks in superblock and chunk tree': {
      damage: (path) => {
        resealSuper(path, (b) => add(b, 0xc9 + 16, 65536));
        changeItem('chunk', 216, (b, _key, data) => add(b, data + 16, 65536))(path);
      },
      reason: /its chunks have \d+ bytes, its superblock says/,
    },
    'one device extent less': {
      damage: changeNode('dev', 0, (b) => add(b, 96, -1)),
      reason: /has no device extent/,
    },
    'an unknown item in the device tree': {
      damage: changeItem('dev', 204, (b, key) => b.writeUInt8(251, key + 8)),
      reason: /device tree has an item of type 251/,
    },
    'a device extent of another length': {
      damage: changeItem('dev', 204, (b, _key, data) => add(b, data + 24, 65536)),
      reason: /belongs to no chunk/,
    },
    'a device that is being replaced': { damage: changeItem('dev', 204, replacing(1)), reason: /being replaced/ },
    'a device that is to be replaced after a pause': {
      damage: changeItem('dev', 204, replacing(4)),
      reason: /being replaced/,
    },
    'no root of the extent tree': {
      damage: changeItem('root', 132, (b, key) => b.writeUInt8(200, key)),
      reason: /its keys do not ascend|its trees are not those/,
    },
    'the root of a subvolume in no extent': {
      damage: (path) => {
        const free = 33_554_432;
        // The tree of files is the third root item; its node is said to be where nothing is.
        const [leaf] = nodes(path, 'root', 0);
        assert.ok(leaf !== undefined);
        reseal(path, physical(path, leaf), 4096, (b) => {
          for (let i = 0; i < b.readUInt32LE(96); i++) {
            const key = HEADER + 25 * i;
            const isFiles = b.readUInt32LE(key) === 5 && b.readUInt8(key + 8) === 132;
            if (isFiles) b.writeUInt32LE(free, HEADER + b.readUInt32LE(key + 17) + 176);
          }
        });
      },
      reason: /node \d+ is in no extent/,
    },
  };
  for (const [name, { damage, reason }] of Object.entries(trees)) {
    it(`frees nothing with ${name}`, () => {
      const path = copy();
      damage(path);
      const map = mapOf(path);
      assert.match(map.areas[0]?.found ?? '', reason);
      assert.deepEqual(pairs(map.free), []);
      assert.deepEqual(pairs(map.unknown), [[0, 256 * MIB]]);
    });
  }

  const BLOCK_GROUPS = '11';
  const blockGroups: Record<string, { damage: (path: string) => void; reason: RegExp }> = {
    'another sum in its block group tree': {
      damage: changeItem(BLOCK_GROUPS, 192, (b, _key, data) => add(b, data, 4096)),
      reason: /used bytes, its item says/,
    },
    'something else in its block group tree': {
      damage: changeItem(BLOCK_GROUPS, 192, (b, key) => b.writeUInt8(193, key + 8)),
      reason: /has no such chunk/,
    },
    'one block group less': {
      damage: changeItem(BLOCK_GROUPS, 192, (b) => add(b, 96, -1)),
      reason: /its item says -1/,
    },
    'a block group tree that its superblock does not promise': {
      damage: (path) => resealSuper(path, (b) => b.writeUInt8(3, 0xb4)),
      reason: /its trees are not those/,
    },
    'a block group in its extent tree': {
      damage: changeItem('extent', 169, (b, key) => b.writeUInt8(192, key + 8)),
      reason: /item of type 192/,
    },
  };
  for (const [name, { damage, reason }] of Object.entries(blockGroups)) {
    it(`frees nothing with ${name}`, () => {
      const path = withBlockGroupTree();
      damage(path);
      const map = mapOf(path);
      assert.match(map.areas[0]?.found ?? '', reason);
      assert.deepEqual(pairs(map.free), []);
    });
  }

  it('frees nothing of one of two devices', () => {
    const paths = [join(folder, `image-${serial++}`), join(folder, `image-${serial++}`)];
    for (const path of paths) sparse(path, 256 * MIB);
    run('mkfs.btrfs', ['-q', '-d', 'single', '-m', 'raid1', ...paths]);
    for (const path of paths) {
      const map = mapOf(path);
      assert.match(map.areas[0]?.found ?? '', /more than one device/);
      assert.deepEqual(pairs(map.free), []);
    }
  });

  it('frees nothing with BLAKE2 checksums', () => {
    const path = image(['--csum', 'blake2']);
    assert.match(mapOf(path).areas[0]?.found ?? '', /checksum type 3 is not known/);
  });

  it('frees nothing of a seed', () => {
    const path = copy();
    run('btrfstune', ['-f', '-S', '1', path]);
    assert.match(mapOf(path).areas[0]?.found ?? '', /flags that are not known/);
  });

  it('frees nothing when a node cannot be read, and says which place', () => {
    const bad = physical(plain, nodes(plain, 'extent', 0).at(-1) ?? 0);
    const device = BlockDevice.open(plain, { write: false, direct: false });
    const whole = new DeviceSource(device, device.sizeBytes);
    const source = {
      sizeBytes: whole.sizeBytes,
      sectorBytes: whole.sectorBytes,
      read: (offset: number, length: number): Buffer => {
        if (offset <= bad && bad < offset + length) throw new SysError(5, 'pread', plain, `at ${bad}`);
        return whole.read(offset, length);
      },
    };
    const map = buildMap(source);
    whole.free();
    device.close();
    assert.match(map.areas[0]?.found ?? '', new RegExp(`^unknown: pread .* at ${bad}: .*EIO`));
    assert.deepEqual(pairs(map.free), []);
  });

  it('says nothing about what is no btrfs', () => {
    const path = join(folder, `image-${serial++}`);
    sparse(path, 4 * MIB);
    assert.deepEqual(
      mapOf(path).areas.map((area) => area.found),
      ['unknown'],
    );
  });

  it('frees nothing where another format has its mark too', () => {
    const path = copy();
    patch(path, 0, Buffer.from('\0\0\0ReFS\0'));
    const map = mapOf(path);
    assert.equal(map.areas[0]?.found, 'unknown: ReFS');
    assert.deepEqual(pairs(map.free), []);
  });
});

describe('damaged btrfs', () => {
  it('is refused as Inconsistent or read within its bounds, whatever is changed', () => {
    const path = copy();
    const size = dumpSuper(path, 'total_bytes');
    const before = pairs(mapOf(path).free);
    const places = ['root', 'chunk', 'extent', 'dev'].flatMap((tree) =>
      [0, 1].flatMap((level) => nodes(path, tree, level).map((logical) => physical(path, logical))),
    );
    const device = BlockDevice.open(path, { write: false, direct: false });
    let state = 4711;
    const random = (below: number): number => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return (state >>> 8) % below;
    };
    const outcomes = { refused: 0, same: 0, other: 0 };
    for (let round = 0; round < 3000; round++) {
      const isSuper = round % 4 === 0;
      const at = isSuper ? 65536 : (places[random(places.length)] ?? 0);
      const old = peek(path, at, 4096);
      const copyOld = peek(path, 64 * MIB, 4096);
      const change = (block: Buffer): void => {
        // Headers and first items more often than the rest; small numbers, extremes and single bits.
        for (let i = 0; i <= random(3); i++) {
          const offset = 32 + random(isSuper ? 900 : random(2) === 0 ? 300 : 4000);
          const kind = random(4);
          if (kind === 0) block.writeUInt8(random(256), offset);
          else if (kind === 1) block.writeUInt8(block.readUInt8(offset) ^ (1 << random(8)), offset);
          else if (kind === 2) block.fill(0xff, offset, offset + 1 + random(8));
          else block.fill(0, offset, offset + 1 + random(8));
        }
      };
      reseal(path, at, 4096, change);
      // The copy must agree for anything behind it to be reached.
      if (isSuper) {
        const primary = peek(path, at, 4096);
        reseal(path, 64 * MIB, 4096, (block) => {
          primary.copy(block, 32, 32);
          block.writeUInt32LE(64 * MIB, 0x30);
          block.writeUInt32LE(0, 0x34);
        });
      }
      // Its own reader: the window of an earlier one would hide the change.
      const source = new DeviceSource(device, device.sizeBytes);
      try {
        const space = btrfsFree(source, 0, device.sizeBytes);
        const free = space ? pairs(space.free) : [];
        for (const [start, end] of free) assert.ok(start >= MIB && start < end && end <= size, `${start} to ${end}`);
        if (JSON.stringify(free) === JSON.stringify(before)) outcomes.same++;
        else outcomes.other++;
        // What the primary does not say about space may change; nothing that was in use may become free.
        for (const [start, end] of free) {
          assert.ok(
            before.some(([from, to]) => from <= start && end <= to),
            `round ${round}: ${start} to ${end} was not free`,
          );
        }
      } catch (error) {
        if (!(error instanceof Inconsistent)) throw error;
        outcomes.refused++;
      } finally {
        source.free();
        patch(path, at, old);
        patch(path, 64 * MIB, copyOld);
      }
    }
    device.close();
    assert.ok(outcomes.refused > 1000 && outcomes.same > 100, JSON.stringify(outcomes));
  });

  it('is refused or empty when it is garbage behind a superblock', () => {
    const path = copy();
    const size = dumpSuper(path, 'total_bytes');
    for (const at of [MIB, 20 * MIB, 22 * MIB, 30 * MIB]) {
      const image = join(folder, `garbage-${serial++}`);
      copyFileSync(path, image);
      scribble(image, [
        [at, Math.min(size, 64 * MIB)],
        [65 * MIB, size],
      ]);
      const map = mapOf(image);
      assert.match(map.areas[0]?.found ?? '', /^unknown: btrfs: /);
      assert.deepEqual(pairs(map.free), []);
      rmSync(image);
    }
  });
});
