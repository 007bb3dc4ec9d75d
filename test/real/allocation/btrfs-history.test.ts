/**
 * Btrfs that this machine's kernel has worked on (root, loop devices): files written, removed, shared, snapshots, balances, a
 * device exchanged, power cuts. dump-tree must see the same free space; and with all of it overwritten, checker and kernel
 * must find the file system whole, with the same files.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { attachLoop, type LoopDevice } from '../../contract/target/loop-device.ts';
import { assertClean, dumpSuper, dumpTreeFree, MIB, mapOf, pairs, run, scribble, sparse } from '../../lab/btrfs.ts';
import { onExit, runCleanups } from '../../lab/cleanup.ts';

const folder = mkdtempSync(join(tmpdir(), 'rehost-btrfs-history-'));
onExit('btrfs images', () => rmSync(folder, { recursive: true, force: true }));
after(async () => assert.equal(await runCleanups(), 0));
let serial = 0;

/** An image, its loop device and its mount point. What is mounted or attached still is ended with the process. */
class Disk {
  readonly image = join(folder, `image-${serial}`);
  readonly at = join(folder, `at-${serial++}`);
  #loop: LoopDevice | undefined;
  #mounted = false;

  constructor(bytes: number) {
    sparse(this.image, bytes);
    mkdirSync(this.at);
    onExit(this.at, () => this.detach());
  }

  get device(): string {
    this.#loop ??= attachLoop(this.image);
    return this.#loop.path;
  }

  mount(options = 'defaults'): void {
    run('mount', ['-t', 'btrfs', '-o', options, this.device, this.at]);
    this.#mounted = true;
  }

  detach(): void {
    if (this.#mounted) run('umount', [this.at]);
    this.#mounted = false;
    this.#loop?.detach();
    this.#loop = undefined;
  }
}

/** Each file's path and hash. */
function files(at: string): Record<string, string> {
  const result: Record<string, string> = {};
  for (const entry of readdirSync(at, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    result[path.slice(at.length)] = createHash('sha256').update(readFileSync(path)).digest('hex');
  }
  return result;
}

function btrfs(...args: string[]): string {
  return run('btrfs', args);
}

/** Half random, half not, so that it can be compressed in part. */
function content(bytes: number): Buffer {
  return Buffer.concat([randomBytes(Math.ceil(bytes / 2)), Buffer.alloc(Math.floor(bytes / 2), 'text ')]);
}

/** Years of use in a few seconds: several rounds, each committed, which leave holes of all sizes. */
function use(at: string): void {
  const home = join(at, 'home');
  btrfs('subvolume', 'create', home);
  for (let round = 0; round < 4; round++) {
    for (let i = 0; i < 300; i++)
      writeFileSync(join(home, `file-${round}-${i}`), content((i * 977 * (round + 1)) % 70_000));
    writeFileSync(join(home, `large-${round}`), content(24 * MIB));
    execFileSync('cp', ['--reflink=always', join(home, `large-${round}`), join(home, `shared-${round}`)]);
    execFileSync('fallocate', ['-l', '5M', join(home, `reserved-${round}`)]);
    execFileSync('sync', ['-f', at]);
    btrfs('subvolume', 'snapshot', '-r', home, join(at, `snapshot-${round}`));
    for (let i = round; i < 300; i += 3) rmSync(join(home, `file-${round}-${i}`));
    const large = openSync(join(home, `large-${round}`), 'r+');
    for (let i = 0; i < 40; i++) writeSync(large, content(8192), 0, 8192, ((i * 7919) % 6000) * 4096);
    closeSync(large);
    truncateSync(join(home, `shared-${round}`), 9 * MIB + 5);
    execFileSync('sync', ['-f', at]);
    if (round >= 2) btrfs('subvolume', 'delete', '--commit-each', join(at, `snapshot-${round - 2}`));
  }
  rmSync(join(home, 'large-0'));
  btrfs('subvolume', 'sync', at);
}

/** The map must be what dump-tree says. Answers the free ranges. */
function assertExact(image: string): [number, number][] {
  const map = mapOf(image);
  assert.deepEqual(
    map.areas.map((area) => area.found),
    ['Btrfs'],
  );
  const free = pairs(map.free);
  assert.deepEqual(free, dumpTreeFree(image));
  return free;
}

/** Overwrites what is free; the file system must be whole, have these files, and go on working. */
function assertNothingLost(disk: Disk, free: [number, number][], expected: Record<string, string>): void {
  scribble(disk.image, free);
  assertClean(disk.image);
  disk.mount();
  assert.deepEqual(files(disk.at), expected);
  writeFileSync(join(disk.at, 'more'), content(40 * MIB));
  rmSync(join(disk.at, 'more'));
  disk.detach();
  assertClean(disk.image);
}

describe('btrfs with a history', () => {
  const kinds: Record<string, { make: string[]; mount?: string }> = {
    'as Debian makes it': { make: [] },
    'mixed block groups, compressed': { make: ['-M'], mount: 'compress-force=zstd' },
    'one copy of the metadata, xxhash64, free space cache': {
      make: ['-m', 'single', '--csum', 'xxhash', '-R', '^free-space-tree'],
      mount: 'space_cache=v1',
    },
    'two copies of all, small nodes': { make: ['-m', 'dup', '-d', 'dup', '-n', '4096'] },
  };
  for (const [name, { make, mount }] of Object.entries(kinds)) {
    it(`has exactly its free space found, and loses nothing without it: ${name}`, () => {
      const disk = new Disk(1024 * MIB);
      run('mkfs.btrfs', ['-q', ...make, disk.image]);
      disk.mount(mount);
      use(disk.at);
      const expected = files(disk.at);
      disk.detach();
      const free = assertExact(disk.image);
      assert.ok(free.length > 200, `${free.length} ranges`);
      assertNothingLost(disk, free, expected);
    });
  }

  it('is understood with a snapshot half deleted and a balance half done', () => {
    const disk = new Disk(1024 * MIB);
    run('mkfs.btrfs', ['-q', disk.image]);
    disk.mount();
    use(disk.at);
    btrfs('balance', 'start', '--background', '--full-balance', disk.at);
    // It fails when the balance is done already: on a fast disk.
    spawnSync('btrfs', ['balance', 'pause', disk.at]);
    btrfs('subvolume', 'delete', '--commit-after', join(disk.at, 'snapshot-2'));
    const expected = files(disk.at);
    disk.detach();
    assertNothingLost(disk, assertExact(disk.image), expected);
  });

  it('is understood after a balance, made smaller', () => {
    const disk = new Disk(1024 * MIB);
    run('mkfs.btrfs', ['-q', disk.image]);
    disk.mount();
    use(disk.at);
    btrfs('balance', 'start', '--full-balance', disk.at);
    btrfs('filesystem', 'resize', '-150M', disk.at);
    const expected = files(disk.at);
    disk.detach();
    const free = assertExact(disk.image);
    assert.equal(dumpSuper(disk.image, 'total_bytes'), 874 * MIB);
    assert.deepEqual(pairs(mapOf(disk.image).unknown), [[874 * MIB, 1024 * MIB]]);
    assertNothingLost(disk, free, expected);
  });

  it('is understood on the device that it moved to, and not on the one that it left', () => {
    const [first, second, third] = [new Disk(1024 * MIB), new Disk(1024 * MIB), new Disk(1024 * MIB)];
    run('mkfs.btrfs', ['-q', first.image]);
    first.mount();
    use(first.at);
    btrfs('replace', 'start', '-B', '-f', '1', second.device, first.at);
    btrfs('device', 'add', '-f', third.device, first.at);
    execFileSync('sync', ['-f', first.at]);
    for (const { image } of [second, third]) assert.match(mapOf(image).areas[0]?.found ?? '', /more than one device/);
    btrfs('device', 'remove', second.device, first.at);
    const expected = files(first.at);
    first.detach();
    second.detach();
    third.detach();
    for (const { image } of [first, second]) assert.equal(pairs(mapOf(image).free).length, 0);
    const free = assertExact(third.image);
    assert.equal(dumpSuper(third.image, 'dev_item.devid'), 2);
    assertNothingLost(third, free, expected);
  });
});

describe('btrfs after a power cut', () => {
  /** What a disk holds when the machine stops now: everything that went to the device. */
  function cut(disk: Disk): Disk {
    const result = new Disk(0);
    run('cp', ['--sparse=always', disk.image, result.image]);
    return result;
  }

  it('is not trusted with a log of what was synchronised since the last commit', () => {
    const disk = new Disk(1024 * MIB);
    run('mkfs.btrfs', ['-q', disk.image]);
    disk.mount('commit=300');
    use(disk.at);
    const path = join(disk.at, 'home', 'database');
    writeFileSync(path, content(3 * MIB));
    execFileSync('sync', ['-f', disk.at]);
    const fd = openSync(path, 'r+');
    writeSync(fd, content(MIB), 0, MIB, 0);
    fsyncSync(fd);
    closeSync(fd);
    const stopped = cut(disk);
    disk.detach();
    assert.ok(dumpSuper(stopped.image, 'log_root') > 0, 'it has a log');
    const map = mapOf(stopped.image);
    assert.equal(map.areas[0]?.found, 'unknown: btrfs: it has a log to be replayed');
    assert.deepEqual(pairs(map.free), []);
    assertExact(disk.image);
  });

  it('has its last commit, whatever was written without one since', () => {
    const disk = new Disk(1024 * MIB);
    run('mkfs.btrfs', ['-q', disk.image]);
    disk.mount('commit=300');
    use(disk.at);
    const expected = files(disk.at);
    execFileSync('sync', ['-f', disk.at]);
    // Past the cache: the data is on the device at once, but nothing refers to it yet.
    run('dd', [
      'if=/dev/urandom',
      `of=${join(disk.at, 'uncommitted')}`,
      'bs=1M',
      'count=64',
      'oflag=direct',
      'status=none',
    ]);
    for (let i = 0; i < 300; i += 2) rmSync(join(disk.at, 'home', `file-3-${i}`), { force: true });
    const stopped = cut(disk);
    disk.detach();
    const free = assertExact(stopped.image);
    assertNothingLost(stopped, free, expected);
  });
});
