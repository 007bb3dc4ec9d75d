/** Free blocks of XFS file systems that the kernel wrote: against xfs_db, and by writing over everything that is called free. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { DeviceSource, Inconsistent } from '../../../agent/export/allocation/source.ts';
import { xfsFree } from '../../../agent/export/allocation/xfs.ts';
import { BlockDevice } from '../../../native/block.ts';
import { PrivateMounts } from '../../lab/private-mounts.ts';
import { bytesAt, mkfsXfs, type Pair, spoil, xfsDamage, xfsDbFree, xfsField, xfsLogAddress } from '../../lab/xfs.ts';

const MIB = 1024 * 1024;
assert.equal(process.getuid?.(), 0, 'this test mounts file systems: run it as root');
assert.match(readFileSync('/proc/filesystems', 'utf8'), /\txfs$/m, 'this test needs a kernel that mounts XFS');
// mkfs makes small file systems, with logs small enough to go around in a test, only for XFS's own test suite.
for (const name of ['TEST_DIR', 'TEST_DEV', 'QA_CHECK_FS']) process.env[name] = '1';

// In memory: the images are synced after nearly every step.
const folder = mkdtempSync('/dev/shm/rehost-xfs-');
const mounts = await PrivateMounts.open();
after(async () => {
  await mounts.close();
  rmSync(folder, { recursive: true, force: true });
});
let serial = 0;

function tool(program: string, ...args: string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', stdio: 'pipe' });
}

function made(options: readonly string[], bytes = 256 * MIB): string {
  const path = join(folder, `image-${serial++}`);
  mkfsXfs(folder, path, bytes, options, 5);
  return path;
}

/** Mounts the image while `use` runs: `point` is how this process reaches it, `inside` its name for tools run in the namespace. */
function mounted<T>(path: string, use: (point: string, inside: string) => T, options = 'nouuid'): T {
  const inside = join(folder, `mount-${serial++}`);
  mkdirSync(inside);
  mounts.run('mount', '-o', `loop,${options}`, path, inside);
  try {
    return use(mounts.reach(inside), inside);
  } finally {
    mounts.run('umount', inside);
  }
}

/** Free ranges, or why they are not to be trusted. */
function read(path: string): Pair[] | string {
  const device = BlockDevice.open(path, { write: false, direct: false });
  const source = new DeviceSource(device, device.sizeBytes);
  try {
    const space = xfsFree(source, 0, device.sizeBytes);
    assert.ok(space, 'there is an XFS file system');
    return Array.from({ length: space.free.length / 2 }, (_, i) => [
      space.free[2 * i] ?? -1,
      space.free[2 * i + 1] ?? -1,
    ]);
  } catch (error) {
    if (error instanceof Inconsistent) return error.message;
    throw error;
  } finally {
    source.free();
    device.close();
  }
}

/** Numbers that come again with the same seed. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Makes, shares, punches, cuts and deletes files; `each` is called after every step. */
function churn(
  point: string,
  steps: number,
  random: (below: number) => number,
  each: () => void = () => undefined,
): void {
  const content = randomBytes(300_000);
  for (let step = 0; step < steps; step++) {
    const path = join(point, `d${random(5)}`, `f${random(400)}`);
    mkdirSync(join(path, '..'), { recursive: true });
    const kind = random(10);
    try {
      if (kind < 5) writeFileSync(path, content.subarray(0, random(10) === 0 ? random(300_000) : random(9000)));
      else if (kind < 7) rmSync(path, { force: true });
      else if (kind === 7) tool('cp', '--reflink=auto', join(point, 'file-0'), path);
      else if (kind === 8) tool('fallocate', '-p', '-o', String(4096 * random(30)), '-l', '4096', path);
      else truncateSync(path, random(20_000));
    } catch (error) {
      // The file is not there, or the file system is full.
      if (!/ENOENT|ENOSPC|No such file|No space left/.test(String(error))) throw error;
    }
    if (random(8) === 0) {
      const file = openSync(join(point, 'file-1'), 'r+');
      fsyncSync(file);
      closeSync(file);
    }
    each();
  }
}

/** SHA-256 of everything in the tree: names, kinds and contents. */
function digest(point: string): string {
  const hash = createHash('sha256');
  for (const entry of readdirSync(point, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    hash.update(`${path.slice(point.length)} ${entry.isFile()}\n`);
    if (entry.isFile()) hash.update(readFileSync(path));
  }
  return hash.digest('hex');
}

/** The reader agrees with xfs_db; and a copy, with everything free written over, is whole and has the same files. */
function prove(path: string): Pair[] {
  const free = read(path);
  assert.ok(typeof free !== 'string', String(free));
  assert.deepEqual(free, xfsDbFree(path));
  const before = mounted(path, digest, 'ro,norecovery');
  const copy = `${path}-spoiled`;
  tool('cp', '--sparse=always', path, copy);
  spoil(copy, free);
  assert.equal(xfsDamage(copy), undefined);
  assert.equal(mounted(copy, digest), before);
  rmSync(copy);
  return free;
}

const KINDS: Record<string, string[]> = {
  'as mkfs makes it': [],
  'stripes in the log, which goes around': ['-l', 'size=28m,su=256k', '-d', 'agcount=2'],
  'sectors of 4 KiB and a reverse mapping tree': ['-s', 'size=4096', '-m', 'rmapbt=1'],
  'blocks of 1 KiB': ['-b', 'size=1024', '-m', 'rmapbt=1', '-d', 'agcount=3'],
  'little of what came later': ['-m', 'reflink=0,finobt=0,inobtcount=0,bigtime=0', '-i', 'sparse=0'],
};

describe('XFS as the kernel leaves it', () => {
  for (const [name, options] of Object.entries(KINDS)) {
    it(`is read as it is, unmounted: ${name}`, () => {
      const path = made(options);
      const random = randomOf(serial);
      // The log goes on where it was at each mount, and around its end.
      for (let round = 0; round < 4; round++) {
        mounted(path, (point) => churn(point, 250, random), round % 2 === 0 ? 'wsync' : 'nouuid');
        assert.deepEqual(read(path), xfsDbFree(path));
      }
      if (name.includes('goes around')) assert.ok(bytesAt(path, xfsLogAddress(path), 8).readUInt32BE(4) > 1);
      const pieces = prove(path).length;
      assert.ok(pieces >= 10, `${pieces} pieces`);
    });
  }

  it('is read from trees of two levels that the kernel split', () => {
    const path = made(['-b', 'size=1024', '-d', 'agcount=2']);
    mounted(path, (point) => {
      const file = join(point, 'holes');
      writeFileSync(file, Buffer.alloc(8 * MIB, 0x42));
      const holes = Array.from({ length: 4000 }, (_, i) => ['-c', `fpunch ${2048 * i} 1024`]);
      tool('xfs_io', ...holes.flat(), file);
    });
    assert.ok([0, 1].some((group) => xfsField(path, 'bnolevel', `agf ${group}`) >= 2));
    assert.ok(prove(path).length > 3000);
  });

  it('is read when it is full', () => {
    const path = made(['-d', 'agcount=4']);
    mounted(path, (point) => {
      for (const size of [MIB, 4096]) {
        assert.throws(() => {
          for (let i = 0; i < 100_000; i++) writeFileSync(join(point, `full-${size}-${i}`), Buffer.alloc(size, 0x42));
        }, /ENOSPC/);
      }
    });
    prove(path);
  });

  it('is read after it grew and after it shrank', () => {
    const path = made(['-d', 'agcount=2']);
    mounted(path, (point) => churn(point, 200, randomOf(7)));
    truncateSync(path, 700 * MIB);
    mounted(path, (_point, inside) => mounts.run('xfs_growfs', inside));
    assert.ok(xfsField(path, 'agcount', 'sb 0') > 2);
    mounted(path, (point) => churn(point, 200, randomOf(8)));
    prove(path);
    const blocks = xfsField(path, 'dblocks', 'sb 0');
    mounted(path, (_point, inside) => mounts.run('xfs_growfs', '-D', String(blocks - 1000), inside));
    assert.equal(xfsField(path, 'dblocks', 'sb 0'), blocks - 1000);
    const free = prove(path);
    assert.ok((free.at(-1)?.[1] ?? 0) <= (blocks - 1000) * 4096);
  });

  it('is read after its UUID was changed and it was mounted again', () => {
    const path = made([]);
    mounted(path, (point) => churn(point, 100, randomOf(9)));
    tool('xfs_admin', '-U', 'generate', path);
    mounted(path, (point) => churn(point, 100, randomOf(10)));
    prove(path);
  });
});

describe('XFS with a log that is not clean', () => {
  it('is not trusted while it is frozen', () => {
    const path = made([]);
    const copy = `${path}-frozen`;
    mounted(path, (point) => {
      churn(point, 100, randomOf(11));
      tool('fsfreeze', '-f', point);
      try {
        copyFileSync(path, copy);
      } finally {
        tool('fsfreeze', '-u', point);
      }
    });
    assert.match(String(read(copy)), /not unmounted cleanly|no record before|in the middle|not complete/);
    assert.ok(typeof read(path) !== 'string');
  });

  it('is not trusted after a shutdown without the log, and is after the replay', () => {
    const path = made([]);
    mounted(path, (point, inside) => {
      churn(point, 300, randomOf(12));
      mounts.run('xfs_io', '-x', '-c', 'shutdown -f', inside);
    });
    assert.match(String(read(path)), /has to be replayed/);
    mounted(path, () => undefined);
    prove(path);
  });

  it('is trusted at any moment only when xfs_logprint calls it clean too', () => {
    const seen = { refused: 0, trusted: 0 };
    const random = randomOf(13);
    const path = made(['-l', 'size=8m']);
    const copy = `${path}-moment`;
    const look = (): void => {
      tool('cp', '--sparse=always', path, copy);
      const free = read(copy);
      if (typeof free === 'string') {
        seen.refused++;
        return;
      }
      seen.trusted++;
      assert.match(tool('xfs_logprint', '-t', copy), /state: <CLEAN>/);
      assert.deepEqual(free, xfsDbFree(copy));
    };
    for (let round = 0; round < 4; round++) {
      look();
      mounted(path, (point) => {
        look();
        churn(point, 250, random, () => {
          if (random(60) === 0) look();
        });
      });
    }
    assert.ok(seen.trusted >= 4 && seen.refused >= 5, JSON.stringify(seen));
  });
});
