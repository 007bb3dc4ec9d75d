/** Allocation maps of LVM physical volumes, against LVM's own tools (root: loop devices). */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, describe, it } from 'node:test';
import { crc32 } from 'node:zlib';
import { destroy, MIB, mapOf, pairs, patch, transfer } from '../../lab/disk-images.ts';
import { EXTENT_BYTES, LvmLab } from './lvm-lab.ts';

const lab = new LvmLab();
after(() => lab.end());
afterEach(() => lab.detachAll());

function tree(): string {
  const path = join(lab.folder, 'tree');
  mkdirSync(path, { recursive: true });
  for (let i = 0; i < 60; i++) writeFileSync(join(path, `file-${i}`), randomBytes(100_000 + i * 1377));
  return path;
}

/** An ext4 with files and holes between them. */
function ext4(bytes: number): string {
  const path = lab.image(bytes);
  execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', '-b', '4096', '-d', tree(), path], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const script = join(lab.folder, 'debugfs-script');
  writeFileSync(script, Array.from({ length: 20 }, (_, i) => `rm file-${3 * i}`).join('\n'));
  execFileSync('debugfs', ['-w', '-f', script, path], { stdio: 'ignore' });
  return path;
}

/** All files of an ext4 image by name, after e2fsck has found nothing wrong with it. */
function filesOf(image: string): Map<string, Buffer> {
  execFileSync('e2fsck', ['-fn', image], { stdio: ['ignore', 'pipe', 'pipe'] });
  const out = join(lab.folder, 'files');
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out);
  execFileSync('debugfs', ['-R', `rdump / ${out}`, image], { stdio: 'ignore' });
  return new Map(
    readdirSync(out)
      .filter((name) => name.startsWith('file-'))
      .map((name) => [name, readFileSync(join(out, name))]),
  );
}

function store(name: string, content: string, disk: string): void {
  for (const piece of lab.pieces(name)) transfer(content, piece.volume, disk, piece.disk, piece.length);
}

function onDisk(name: string, ranges: [number, number][]): [number, number][] {
  return lab.pieces(name).flatMap((piece) =>
    ranges.flatMap(([start, end]): [number, number][] => {
      const from = Math.max(start, piece.volume);
      const to = Math.min(end, piece.volume + piece.length);
      return from < to ? [[from - piece.volume + piece.disk, to - piece.volume + piece.disk]] : [];
    }),
  );
}

function joined(ranges: [number, number][]): [number, number][] {
  const result: [number, number][] = [];
  for (const [start, end] of ranges.toSorted((a, b) => a[0] - b[0])) {
    const last = result.at(-1);
    if (last && last[1] === start) last[1] = end;
    else result.push([start, end]);
  }
  return result;
}

function overlaps(ranges: [number, number][], others: [number, number][]): boolean {
  return ranges.some(([start, end]) => others.some(([from, to]) => from < end && start < to));
}

/** A linear segment at an extent, as LVM writes it. */
function segment(index: number, start: number, count: number, extent: number): string {
  return `segment${index} { start_extent = ${start} extent_count = ${count} type = "striped" stripe_count = 1 stripes = [ "pv0", ${extent} ] }`;
}

function volume(name: string, status: string, body: string): string {
  const id = `${randomBytes(3).toString('hex')}-aaaa-bbbb-cccc-dddd-eeee-${randomBytes(3).toString('hex')}`;
  const count = body.split(/segment\d+ \{/).length - 1;
  return `${name} { id = "${id}" status = [${status}] flags = [] segment_count = ${count} ${body} }`;
}

/** Changes the header of the first metadata area, and its checksum with it. */
function changeAreaHeader(image: string, change: (header: Buffer) => void): void {
  const header = readFileSync(image).subarray(4096, 4096 + 512);
  change(header);
  // As calc_crc() of LVM: its own start, and no inversion at the end.
  header.writeUInt32LE(~crc32(header.subarray(4), ~0xf597a6cf >>> 0) >>> 0, 0);
  patch(image, 4096, header);
}

const PLAIN = '"READ", "WRITE", "VISIBLE"';
const HIDDEN = '"READ", "WRITE"';

/** The metadata with other logical volumes. */
function withVolumes(...volumes: string[]): (text: string) => string {
  return (text) => text.replace(/\n}\s*$/, `\nlogical_volumes {\n${volumes.join('\n')}\n}\n}\n`);
}

describe('LVM on one physical volume', () => {
  /** Root in two segments around another volume, swap, a volume of random bytes, and free extents in two places. */
  function machine() {
    const { image, device } = lab.group(600 * MIB);
    lab.create('first', 40);
    lab.create('root', 100);
    lab.create('data', 40);
    lab.lvm('lvextend', '-q', '-L', '+80M', 'vg/root');
    lab.create('swap', 40);
    lab.lvm('lvremove', '-q', '-y', 'vg/first');
    const root = ext4(180 * MIB);
    const swap = lab.image(40 * MIB);
    execFileSync('mkswap', [swap], { stdio: 'ignore' });
    const data = lab.image(40 * MIB);
    writeFileSync(data, randomBytes(40 * MIB));
    assert.equal(lab.pieces('root').length, 2, 'root is in two segments');
    store('root', root, image);
    store('swap', swap, image);
    store('data', data, image);
    return { image, device, root, data };
  }

  it('frees what no volume has and what the volumes file systems do not use, and nothing else', () => {
    const { image, device, root } = machine();
    const map = mapOf(image);
    assert.equal(map.areas[0]?.found, 'LVM (root: ext4, data: unknown: its boot sectors are not empty, swap: swap)');
    const expected = [
      ...lab.unallocated(device),
      ...onDisk('root', pairs(mapOf(root).free)),
      ...onDisk('swap', [[4096, 40 * MIB]]),
    ];
    assert.ok(expected.length > 10, 'the file system is fragmented');
    assert.deepEqual(pairs(map.free), joined(expected));
    const extentsEnd = MIB + 149 * EXTENT_BYTES;
    assert.deepEqual(
      pairs(map.unknown),
      joined([[0, MIB], ...onDisk('data', [[0, 40 * MIB]]), [extentsEnd, 600 * MIB]]),
    );
  });

  it('keeps every file and the metadata when all free bytes are destroyed, in a partition as well', () => {
    const { image, root, data } = machine();
    const disk = lab.image(610 * MIB);
    execFileSync('sfdisk', ['-q', disk], {
      input: 'label: gpt\nstart=4096,size=1228800\n',
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    transfer(image, 0, disk, 2 * MIB, 600 * MIB);
    const map = mapOf(disk);
    assert.match(map.areas[0]?.found ?? '', /^LVM \(root: ext4/);
    destroy(disk, pairs(map.free));
    const places = new Map(['root', 'data'].map((name) => [name, lab.pieces(name)]));
    const before = lab.lvm('lvs', '--noheadings', '-o', 'lv_name,lv_uuid,seg_pe_ranges');
    transfer(disk, 2 * MIB, image, 0, 600 * MIB);
    assert.equal(lab.lvm('lvs', '--noheadings', '-o', 'lv_name,lv_uuid,seg_pe_ranges'), before);
    const copies = new Map(
      [...places].map(([name, pieces]) => {
        const copy = lab.image(name === 'root' ? 180 * MIB : 40 * MIB);
        for (const piece of pieces) transfer(image, piece.disk, copy, piece.volume, piece.length);
        return [name, copy];
      }),
    );
    const files = filesOf(root);
    assert.ok(files.size === 40, 'there are files');
    assert.deepEqual(filesOf(copies.get('root') ?? ''), files);
    assert.deepEqual(readFileSync(copies.get('data') ?? ''), readFileSync(data));
  });

  it('reads a striped volume', () => {
    const { image } = lab.group(400 * MIB);
    // Its second stripe lies before the first one.
    lab.rewrite(
      withVolumes(
        volume(
          'root',
          PLAIN,
          'segment1 { start_extent = 0 extent_count = 40 type = "striped" stripe_count = 2 stripe_size = 128 stripes = [ "pv0", 50, "pv0", 10 ] }',
        ),
      ),
    );
    const root = ext4(160 * MIB);
    const raw = readFileSync(root);
    const bytes = readFileSync(image);
    const piece = 64 * 1024;
    const place = (at: number): number => {
      const index = Math.floor(at / piece);
      return MIB + (index % 2 === 0 ? 50 : 10) * EXTENT_BYTES + Math.floor(index / 2) * piece + (at % piece);
    };
    for (let at = 0; at < raw.length; at += piece) raw.copy(bytes, place(at), at, at + piece);
    writeFileSync(image, bytes);
    const map = mapOf(image);
    assert.equal(map.areas[0]?.found, 'LVM (root: ext4)');
    const expected: [number, number][] = [
      [MIB, MIB + 10 * EXTENT_BYTES],
      [MIB + 30 * EXTENT_BYTES, MIB + 50 * EXTENT_BYTES],
      [MIB + 70 * EXTENT_BYTES, MIB + 99 * EXTENT_BYTES],
    ];
    for (const [start, end] of pairs(mapOf(root).free)) {
      for (let at = start; at < end; ) {
        const next = Math.min(end, at - (at % piece) + piece);
        expected.push([place(at), place(at) + next - at]);
        at = next;
      }
    }
    assert.deepEqual(pairs(map.free), joined(expected));
  });

  it('follows the metadata around the end of its ring', () => {
    const { image, device } = lab.group(200 * MIB, '--metadatasize', '32k', '--dataalignment', '4k');
    lab.create('root', 60);
    const number = (name: string): number =>
      Number(new RegExp(`${name} (\\d+)`).exec(lab.lvm('pvck', '--dump', 'headers', device))?.[1]);
    let wrapped = false;
    for (let round = 0; round < 60 && !wrapped; round++) {
      lab.lvm('vgchange', '-q', round % 2 === 0 ? '--addtag' : '--deltag', `tag${'x'.repeat(900)}`, 'vg');
      const end = number('raw_locn\\[0\\]\\.offset') + number('raw_locn\\[0\\]\\.size');
      wrapped = end > number('mda_header_1\\.size');
    }
    assert.ok(wrapped, 'the text goes around the end');
    assert.equal(mapOf(image).areas[0]?.found, 'LVM (root: unknown)');
    assert.deepEqual(pairs(mapOf(image).free), lab.unallocated(device));
  });

  it('takes two metadata areas that agree, and does not where one is older', () => {
    const { image, device } = lab.group(200 * MIB, '--pvmetadatacopies', '2');
    lab.create('root', 60);
    assert.equal(mapOf(image).areas[0]?.found, 'LVM (root: unknown)');
    assert.deepEqual(pairs(mapOf(image).free), lab.unallocated(device));
    const older = lab.image(200 * MIB);
    transfer(image, 0, older, 0, 200 * MIB);
    lab.create('more', 60);
    transfer(older, 4096, image, 4096, MIB - 4096);
    assert.match(mapOf(image).areas[0]?.found ?? '', /areas do not agree/);
    assert.deepEqual(pairs(mapOf(image).free), []);
  });

  it('frees nothing of a volume that is the raw disk of another machine now', () => {
    const { image, device } = lab.group(200 * MIB);
    lab.create('root', 100);
    const root = ext4(100 * MIB);
    execFileSync('sfdisk', ['-q', '--wipe', 'never', root], {
      input: 'label: dos\nstart=2048,size=8192\n',
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    store('root', root, image);
    assert.equal(mapOf(image).areas[0]?.found, 'LVM (root: unknown: a partition table of its own)');
    assert.deepEqual(pairs(mapOf(image).free), lab.unallocated(device));
  });
});

describe('what LVM builds on top of extents', () => {
  const pool = [
    volume(
      'pool',
      HIDDEN.concat(', "VISIBLE"'),
      'segment1 { start_extent = 0 extent_count = 10 type = "thin-pool" metadata = "pool_tmeta" pool = "pool_tdata" transaction_id = 1 chunk_size = 128 discards = "passdown" zero_new_blocks = 1 }',
    ),
    volume('pool_tdata', HIDDEN, segment(1, 0, 10, 30)),
    volume('pool_tmeta', HIDDEN, segment(1, 0, 1, 40)),
  ];
  const kinds: Record<string, { volumes: string[]; used: [number, number][] }> = {
    'the origin of a snapshot and its store': {
      volumes: [
        volume('root', PLAIN, segment(1, 0, 25, 0)),
        volume('snap', PLAIN, segment(1, 0, 5, 30)),
        volume(
          'snapshot0',
          HIDDEN,
          'segment1 { start_extent = 0 extent_count = 25 type = "snapshot" chunk_size = 8 origin = "root" cow_store = "snap" }',
        ),
      ],
      used: [
        [0, 25],
        [30, 35],
      ],
    },
    'a thin pool and the origin outside of it': {
      volumes: [
        volume('root', PLAIN, segment(1, 0, 25, 0)),
        ...pool,
        volume(
          'thin',
          PLAIN,
          'segment1 { start_extent = 0 extent_count = 25 type = "thin" thin_pool = "pool" transaction_id = 0 device_id = 1 external_origin = "root" }',
        ),
      ],
      used: [
        [0, 25],
        [30, 41],
      ],
    },
    'a RAID 1 with one of its images': {
      volumes: [
        volume(
          'root',
          PLAIN,
          'segment1 { start_extent = 0 extent_count = 25 type = "raid1" device_count = 2 region_size = 1024 raids = [ "root_rmeta_0", "root_rimage_0", "root_rmeta_1", "root_rimage_1" ] }',
        ),
        volume('root_rmeta_0', HIDDEN, segment(1, 0, 1, 25)),
        volume('root_rimage_0', HIDDEN, segment(1, 0, 25, 0)),
        volume('root_rmeta_1', HIDDEN, segment(1, 0, 1, 51)),
        volume('root_rimage_1', HIDDEN, segment(1, 0, 25, 26)),
      ],
      used: [[0, 52]],
    },
    'a mirror': {
      volumes: [
        volume(
          'root',
          PLAIN,
          'segment1 { start_extent = 0 extent_count = 25 type = "mirror" mirror_count = 2 region_size = 1024 mirrors = [ "root_mimage_0", 0, "root_mimage_1", 0 ] }',
        ),
        volume('root_mimage_0', HIDDEN, segment(1, 0, 25, 0)),
        volume('root_mimage_1', HIDDEN, segment(1, 0, 25, 25)),
      ],
      used: [[0, 50]],
    },
    'a mirror on extents themselves': {
      volumes: [
        volume(
          'root',
          PLAIN,
          'segment1 { start_extent = 0 extent_count = 25 type = "mirror" mirror_count = 2 region_size = 1024 mirrors = [ "pv0", 0, "pv0", 30 ] }',
        ),
      ],
      used: [
        [0, 25],
        [30, 55],
      ],
    },
    'a hidden volume': { volumes: [volume('root', HIDDEN, segment(1, 0, 25, 0))], used: [[0, 25]] },
    'a volume with a state that is not known': {
      volumes: [volume('root', `${PLAIN}, "NOTSYNCED"`, segment(1, 0, 25, 0))],
      used: [[0, 25]],
    },
  };
  for (const [name, { volumes, used }] of Object.entries(kinds)) {
    it(`keeps ${name}`, () => {
      const { image, device } = lab.group(400 * MIB);
      lab.rewrite(withVolumes(...volumes));
      // The extents hold an ext4 that would be believed.
      transfer(ext4(100 * MIB), 0, image, MIB, 100 * MIB);
      const map = mapOf(image);
      assert.match(map.areas[0]?.found ?? '', /^LVM \(.*root: unknown/);
      const kept = used.map(([from, to]): [number, number] => [MIB + from * EXTENT_BYTES, MIB + to * EXTENT_BYTES]);
      assert.ok(!overlaps(pairs(map.free), kept));
      assert.deepEqual(pairs(map.free), lab.unallocated(device));
      assert.ok(map.free.length > 0);
    });
  }

  it('presents the same ext4 where the volume is a plain one', () => {
    const { image } = lab.group(400 * MIB);
    lab.rewrite(withVolumes(volume('root', PLAIN, segment(1, 0, 25, 0)), ...pool));
    transfer(ext4(100 * MIB), 0, image, MIB, 100 * MIB);
    const map = mapOf(image);
    assert.equal(map.areas[0]?.found, 'LVM (pool: unknown, pool_tdata: unknown, pool_tmeta: unknown, root: ext4)');
  });

  const refused: Record<string, { change: () => string; reason: RegExp }> = {
    'a group over two physical volumes': {
      change: () => {
        const { image } = lab.group(200 * MIB);
        const second = lab.attach(lab.image(100 * MIB));
        lab.lvm('pvcreate', '-q', '-y', second);
        lab.lvm('vgextend', '-q', 'vg', second);
        return image;
      },
      reason: /not on this one disk/,
    },
    'an exported group': {
      change: () => {
        const { image } = lab.group(200 * MIB);
        lab.lvm('vgexport', '-q', 'vg');
        return image;
      },
      reason: /state that is not known/,
    },
    'a physical volume of no group': {
      change: () => {
        const image = lab.image(100 * MIB);
        lab.lvm('pvcreate', '-q', '-y', lab.attach(image));
        return image;
      },
      reason: /not in use/,
    },
    'a move of extents': {
      change: () => {
        const { image } = lab.group(200 * MIB);
        lab.rewrite(
          withVolumes(
            volume(
              'root',
              `${PLAIN}, "LOCKED"`,
              'segment1 { start_extent = 0 extent_count = 10 type = "striped" stripe_count = 1 stripes = [ "pvmove0", 0 ] }',
            ),
            volume(
              'pvmove0',
              `${HIDDEN}, "PVMOVE", "LOCKED"`,
              'segment1 { start_extent = 0 extent_count = 10 type = "mirror" mirror_count = 2 region_size = 1024 extents_moved = 0 mirrors = [ "pv0", 0, "pv0", 20 ] }',
            ),
          ),
        );
        return image;
      },
      reason: /being moved/,
    },
    'a label that fails its checksum': {
      change: () => {
        const { image } = lab.group(200 * MIB);
        patch(image, 512 + 100, Buffer.from([1]));
        return image;
      },
      reason: /label does not hold/,
    },
    'a boot sector before its label': {
      change: () => {
        const { image } = lab.group(200 * MIB);
        patch(image, 100, Buffer.from([1]));
        return image;
      },
      reason: /beside its label/,
    },
    'the superblock magic of ext4 behind its label': {
      change: () => {
        const { image } = lab.group(200 * MIB);
        patch(image, 1024 + 0x38, Buffer.from('53ef', 'hex'));
        return image;
      },
      reason: /beside its label/,
    },
    'a mark of md at its end': {
      change: () => {
        const { image } = lab.group(200 * MIB);
        patch(image, 200 * MIB - 65536, Buffer.from('fc4e2ba9', 'hex'));
        return image;
      },
      reason: /md 0.90/,
    },
    'a metadata header that fails its checksum': {
      change: () => {
        const { image } = lab.group(200 * MIB);
        patch(image, 4096 + 300, Buffer.from([1]));
        return image;
      },
      reason: /header of a metadata area/,
    },
    'a change of its metadata that was not finished': {
      change: () => {
        const { image } = lab.group(200 * MIB);
        changeAreaHeader(image, (header) => header.writeUInt32LE(1024, 64));
        return image;
      },
      reason: /was not finished/,
    },
    'a metadata area that is to be ignored': {
      change: () => {
        const { image } = lab.group(200 * MIB);
        changeAreaHeader(image, (header) => header.writeUInt32LE(1, 60));
        return image;
      },
      reason: /not in use/,
    },
    'a metadata that fails its checksum': {
      change: () => {
        const { image } = lab.group(200 * MIB);
        patch(image, 4096 + 512 + 20, Buffer.from([0x21]));
        return image;
      },
      reason: /metadata fails its checksum/,
    },
  };
  for (const [name, { change, reason }] of Object.entries(refused)) {
    it(`frees nothing with ${name}`, () => {
      const map = mapOf(change());
      assert.match(map.areas[0]?.found ?? '', reason);
      assert.deepEqual(pairs(map.free), []);
    });
  }

  it('never throws and never frees outside of its extents on random labels and headers', () => {
    const { image } = lab.group(100 * MIB);
    lab.create('root', 40);
    const copy = lab.image(100 * MIB);
    let state = 777;
    const random = (below: number): number => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return (state >>> 8) % below;
    };
    for (let round = 0; round < 200; round++) {
      transfer(image, 0, copy, 0, MIB);
      const at = random(2) === 0 ? 512 + random(160) : 4096 + random(1400);
      patch(copy, at, Buffer.from([random(256), random(256)].slice(0, 1 + random(2))));
      for (const [start, end] of pairs(mapOf(copy).free)) assert.ok(start >= MIB && start < end && end <= 100 * MIB);
    }
  });
});
