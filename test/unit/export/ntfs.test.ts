/** Allocation maps of NTFS against ntfs-3g's tools; mounted volumes are in test/real/allocation. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { MIB, mapOf, pairs, patch, transfer } from '../../lab/disk-images.ts';
import { bitmapFree, firstCluster, mkntfs, ntfscat, ntfscp } from '../../lab/ntfs.ts';

const folder = mkdtempSync(join(tmpdir(), 'rehost-ntfs-'));
after(() => rmSync(folder, { recursive: true, force: true }));
let serial = 0;

const CLUSTER = 4096;
const RECORD = 1024;
const SIZE = 64 * MIB;
/** Records of files that a new volume gets, in this order. */
const FIRST_FILE = 64;
const LOG = 2;
const VOLUME = 3;

function path(): string {
  return join(folder, `image-${serial++}`);
}

function file(content: Buffer): string {
  const name = path();
  writeFileSync(name, content);
  return name;
}

function volume(bytes = SIZE, options: string[] = []): string {
  const image = path();
  mkntfs(image, bytes, options);
  return image;
}

/** A volume with a file of random-looking bytes and one that is small. */
function filled(): string {
  const image = volume();
  ntfscp(image, file(Buffer.alloc(3 * MIB, 0x5a)), 'large');
  ntfscp(image, file(Buffer.from('small')), 'small');
  return image;
}

function place(image: string, record: number): number {
  return firstCluster(image, record) * CLUSTER;
}

function recordPlace(image: string, record: number): number {
  return place(image, 0) + record * RECORD;
}

interface Restart {
  lsn: number;
  client: number;
  flags: number;
  minor: number;
  major: number;
}

const CLEAN: Restart = { lsn: 1000, client: 0xffff, flags: 0, minor: 1, major: 1 };

/** A restart page of the log as Windows writes it, protected by fixups. */
function restartPage({ lsn, client, flags, minor, major }: Restart): Buffer {
  const page = Buffer.alloc(4096);
  page.write('RSTR', 0, 'latin1');
  page.writeUInt16LE(0x1e, 4);
  page.writeUInt16LE(9, 6);
  page.writeUInt32LE(4096, 16);
  page.writeUInt32LE(4096, 20);
  page.writeUInt16LE(0x30, 24);
  page.writeUInt16LE(minor, 26);
  page.writeUInt16LE(major, 28);
  page.writeUInt32LE(lsn, 0x30);
  page.writeUInt16LE(client, 0x30 + 12);
  page.writeUInt16LE(flags, 0x30 + 14);
  page.writeUInt16LE(7, 0x1e);
  for (let sector = 0; sector < 8; sector++) {
    page.writeUInt16LE(page.readUInt16LE(sector * 512 + 510), 0x20 + 2 * sector);
    page.writeUInt16LE(7, sector * 512 + 510);
  }
  return page;
}

function writeLog(image: string, first: Restart, second: Restart): void {
  patch(image, place(image, LOG), restartPage(first));
  patch(image, place(image, LOG) + 4096, restartPage(second));
}

const VSS = Buffer.from('6b87083876c1484eb7ae04046e6cc752', 'hex');

function shadowCatalogue(image: string, entryType: number): void {
  const at = 40 * MIB;
  const header = Buffer.alloc(128);
  VSS.copy(header);
  header.writeUInt32LE(1, 20);
  header.writeUInt32LE(at, 48);
  const block = Buffer.alloc(16 * 1024);
  VSS.copy(block);
  block.writeUInt32LE(2, 20);
  block.writeUInt32LE(1, 128);
  block.writeUInt32LE(entryType, 256);
  patch(image, 0x1e00, header);
  patch(image, at, block);
}

describe('NTFS free clusters', () => {
  const kinds: Record<string, { options: string[]; clusterBytes: number }> = {
    '512 byte clusters': { options: ['-c', '512'], clusterBytes: 512 },
    '4 KiB clusters': { options: ['-c', '4096'], clusterBytes: 4096 },
    '64 KiB clusters': { options: ['-c', '65536'], clusterBytes: 65536 },
    '256 KiB clusters, which the boot sector gives as a negative logarithm': {
      options: ['-c', '262144'],
      clusterBytes: 262144,
    },
    '4 KiB sectors': { options: ['-s', '4096'], clusterBytes: 4096 },
  };
  for (const [name, { options, clusterBytes }] of Object.entries(kinds)) {
    it(`are those of $Bitmap with ${name}`, () => {
      const image = volume(300 * MIB, options);
      ntfscp(image, file(Buffer.alloc(3 * MIB, 1)), 'one');
      ntfscp(image, file(Buffer.alloc(100, 1)), 'two');
      const map = mapOf(image);
      assert.deepEqual(map.areas, [{ start: 0, end: 300 * MIB, found: 'NTFS' }]);
      assert.deepEqual(pairs(map.free), bitmapFree(image, clusterBytes));
      assert.ok(pairs(map.free).reduce((sum, [start, end]) => sum + end - start, 0) > 250 * MIB);
      assert.deepEqual(pairs(map.unknown), []);
    });
  }

  it('are found in a partition, whose rest is unknown', () => {
    const image = filled();
    const disk = file(Buffer.alloc(0));
    truncateSync(disk, 80 * MIB);
    execFileSync('sfdisk', ['-q', disk], {
      input: 'label: gpt\nstart=2048,size=143360\n',
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    transfer(image, 0, disk, MIB, SIZE);
    const map = mapOf(disk);
    assert.equal(map.areas[0]?.found, 'NTFS');
    assert.deepEqual(
      pairs(map.free),
      bitmapFree(image, CLUSTER).map(([start, end]) => [start + MIB, end + MIB]),
    );
    assert.deepEqual(pairs(map.unknown), [
      [0, MIB],
      [65 * MIB, 80 * MIB],
    ]);
  });

  const accepted: Record<string, (image: string) => void> = {
    'with a log that was closed': (image) => writeLog(image, CLEAN, CLEAN),
    'with a log whose newer page says that it is clean': (image) =>
      writeLog(image, { ...CLEAN, client: 0, lsn: 900 }, { ...CLEAN, client: 0, flags: 2 }),
    'with a hibernation file of zeros': (image) => ntfscp(image, file(Buffer.alloc(MIB)), 'hiberfil.sys'),
    'with a catalogue without shadow copies': (image) => shadowCatalogue(image, 1),
    'with a file of a similar name': (image) => ntfscp(image, file(Buffer.alloc(MIB, 1)), 'HIBERFIL.SYX'),
  };
  for (const [name, change] of Object.entries(accepted)) {
    it(`are those of a volume ${name}`, () => {
      const image = filled();
      change(image);
      const map = mapOf(image);
      assert.equal(map.areas[0]?.found, 'NTFS');
      assert.deepEqual(pairs(map.free), bitmapFree(image, CLUSTER));
    });
  }

  const refused: Record<string, { change: (image: string) => void; reason: RegExp }> = {
    'the dirty flag': {
      change: (image) => execFileSync('ntfsfix', [image], { stdio: 'ignore' }),
      reason: /marked dirty/,
    },
    'a log that Windows has open': {
      change: (image) => writeLog(image, { ...CLEAN, client: 0 }, { ...CLEAN, client: 0, lsn: 900 }),
      reason: /not dismounted cleanly/,
    },
    'a log whose newer page is in use': {
      change: (image) => writeLog(image, CLEAN, { ...CLEAN, client: 0, lsn: 1001 }),
      reason: /not dismounted cleanly/,
    },
    'a log of fast startup': {
      change: (image) => writeLog(image, { ...CLEAN, major: 2, minor: 0 }, { ...CLEAN, major: 2, minor: 0 }),
      reason: /version 2.0/,
    },
    'a log page that was not written completely': {
      change: (image) => {
        writeLog(image, CLEAN, CLEAN);
        patch(image, place(image, LOG) + 4096 + 2 * 512 + 510, Buffer.from([8]));
      },
      reason: /not written completely/,
    },
    'a log that is empty at its start only': {
      change: (image) => patch(image, place(image, LOG) + MIB, Buffer.from([1])),
      reason: /not of the kind RSTR/,
    },
    'a hibernated system': {
      change: (image) => ntfscp(image, file(Buffer.concat([Buffer.from('hibr'), Buffer.alloc(MIB)])), 'hiberfil.sys'),
      reason: /hibernated/,
    },
    'a hibernation file in capitals': {
      change: (image) => ntfscp(image, file(Buffer.concat([Buffer.from('HIBR'), Buffer.alloc(MIB)])), 'HIBERFIL.SYS'),
      reason: /hibernated/,
    },
    'a system that woke up': {
      change: (image) => ntfscp(image, file(Buffer.concat([Buffer.from('wake'), Buffer.alloc(MIB)])), 'hiberfil.sys'),
      reason: /hibernated/,
    },
    'a hibernation file inside of its record': {
      change: (image) => ntfscp(image, file(Buffer.from('hibr')), 'hiberfil.sys'),
      reason: /hibernated/,
    },
    'a shadow copy': { change: (image) => shadowCatalogue(image, 2), reason: /has shadow copies/ },
    'a catalogue of shadow copies that is none': {
      change: (image) => {
        shadowCatalogue(image, 1);
        patch(image, 40 * MIB, Buffer.alloc(16));
      },
      reason: /catalogue/,
    },
    'a cluster of a file that is free': {
      change: (image) => {
        const at = place(image, 6) + (firstCluster(image, FIRST_FILE) >> 3) + 20;
        assert.equal(readFileSync(image)[at], 0xff);
        patch(image, at, Buffer.from([0xfe]));
      },
      reason: /clusters of file 64 are free/,
    },
    'a cluster of its log that is free': {
      change: (image) => patch(image, place(image, 6) + (firstCluster(image, LOG) >> 3) + 1, Buffer.from([0x7f])),
      reason: /clusters of file 2 are free/,
    },
    'free clusters behind its end': {
      change: (image) => {
        const bitmap = ntfscat(image, 6);
        patch(image, place(image, 6) + bitmap.length - 1, Buffer.from([0x7f]));
      },
      reason: /free clusters behind its end/,
    },
    'a record that was not written completely': {
      change: (image) => patch(image, recordPlace(image, FIRST_FILE) + 510, Buffer.from([0x77, 0x77])),
      reason: /not written completely/,
    },
    'a record of another kind': {
      change: (image) => patch(image, recordPlace(image, FIRST_FILE), Buffer.from('BAAD')),
      reason: /not of the kind FILE/,
    },
    'a record in the place of another': {
      change: (image) => patch(image, recordPlace(image, FIRST_FILE) + 44, Buffer.from([1])),
      reason: /record 64 is another one/,
    },
    'a volume record that is not in use': {
      change: (image) => patch(image, recordPlace(image, VOLUME) + 22, Buffer.from([0])),
      reason: /record 3 is not in use/,
    },
    'another copy of its boot sector': {
      change: (image) => patch(image, SIZE - 512 + 0x48, Buffer.from([1, 2, 3, 4])),
      reason: /copy of its boot sector/,
    },
    'an end behind the disk': { change: (image) => truncateSync(image, SIZE - 512), reason: /end is outside/ },
    'an absurd cluster size': { change: (image) => patch(image, 0x0d, Buffer.from([3])), reason: /not plausible/ },
    'another place of the MFT': {
      change: (image) => {
        for (const at of [0, SIZE - 512]) patch(image, at + 0x30, Buffer.from([5]));
      },
      reason: /NTFS/,
    },
    'a mark of LUKS, second header': {
      change: (image) => patch(image, 0x200000, Buffer.from('SKUL\xba\xbe', 'latin1')),
      reason: /LUKS2/,
    },
    'the superblock magic of ext4': {
      change: (image) => patch(image, 1024 + 0x38, Buffer.from('53ef', 'hex')),
      reason: /ext4/,
    },
  };
  for (const [name, { change, reason }] of Object.entries(refused)) {
    it(`are none with ${name}`, () => {
      const image = filled();
      assert.equal(mapOf(image).areas[0]?.found, 'NTFS');
      change(image);
      const map = mapOf(image);
      assert.match(map.areas[0]?.found ?? '', reason);
      assert.deepEqual(pairs(map.free), []);
    });
  }

  it('are none in a partition whose boot sector has become a partition table', () => {
    const image = filled();
    const entry = Buffer.from('00000000830000000008000000100000', 'hex');
    for (const at of [446, SIZE - 512 + 446]) patch(image, at, entry);
    const disk = file(Buffer.alloc(0));
    truncateSync(disk, 80 * MIB);
    execFileSync('sfdisk', ['-q', disk], {
      input: 'label: gpt\nstart=2048,size=131072\n',
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    transfer(image, 0, disk, MIB, SIZE);
    const map = mapOf(disk);
    assert.equal(map.areas[0]?.found, 'unknown: a partition table of its own');
    assert.deepEqual(pairs(map.free), []);
  });

  it('never throw and never lie outside of the volume or on files with random metadata', () => {
    const image = filled();
    const copy = path();
    copyFileSync(image, copy);
    const places = [
      0,
      SIZE - 512,
      ...[0, 1, 2, 3, 6, 7, 8, FIRST_FILE].map((record) => recordPlace(image, record)),
      place(image, 6),
    ];
    const large = place(image, FIRST_FILE);
    let state = 99;
    const random = (below: number): number => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return (state >>> 8) % below;
    };
    const original = readFileSync(image);
    let believed = 0;
    for (let round = 0; round < 600; round++) {
      const at = (places[random(places.length)] ?? 0) + random(400);
      const before = original.subarray(at, at + 2);
      patch(copy, at, Buffer.from([random(256), random(256)].slice(0, before.length)));
      const map = mapOf(copy);
      patch(copy, at, before);
      if (map.areas[0]?.found === 'NTFS') believed++;
      for (const [start, end] of pairs(map.free)) {
        assert.ok(start >= 0 && start < end && end <= SIZE - 512);
        assert.ok(end <= large || start >= large + 3 * MIB, `byte ${at}: the large file is not free`);
      }
    }
    assert.ok(believed > 50 && believed < 550, `${believed} were believed`);
    assert.equal(mapOf(copy).areas[0]?.found, 'NTFS', 'every change was undone');
  });
});
