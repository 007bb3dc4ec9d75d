/** One suite for every kind of target. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { Memory } from '../../../native/memory.ts';
import { openTarget } from '../../../receiver/target/open.ts';
import type { TargetSpec } from '../../../receiver/target/target.ts';
import { attachLoop } from './loop-device.ts';

const MIB = 1024 * 1024;
/** No multiple of a piece or of 4 KiB. */
const SIZE = 5 * MIB + 512;
const folder = mkdtempSync(join(tmpdir(), 'rehost-target-'));
const ends: (() => void)[] = [];
after(() => {
  for (const end of ends) end();
  rmSync(folder, { recursive: true, force: true });
});

/** A file full of garbage, as a reused volume is. */
function garbage(name: string, bytes: number): string {
  const path = join(folder, name);
  writeFileSync(path, Buffer.alloc(bytes, 0xdb));
  return path;
}

interface Kind {
  name: string;
  keeps: boolean;
  sizeBytes: number;
  make(): TargetSpec;
}

function loop(name: string, bytes: number, sectorBytes: number): TargetSpec {
  const device = attachLoop(garbage(name, bytes), sectorBytes);
  ends.push(() => device.detach());
  return { kind: 'device', path: device.path };
}

const kinds: Kind[] = [
  { name: 'null', keeps: false, sizeBytes: SIZE, make: () => ({ kind: 'null', sizeBytes: SIZE }) },
  { name: 'file', keeps: true, sizeBytes: SIZE, make: () => ({ kind: 'device', path: garbage('file', SIZE) }) },
  { name: 'block device', keeps: true, sizeBytes: SIZE, make: () => loop('loop', SIZE, 512) },
  {
    name: 'block device with 4 KiB sectors',
    keeps: true,
    sizeBytes: 5 * MIB,
    make: () => loop('loop-4k', 5 * MIB, 4096),
  },
];

for (const kind of kinds) {
  describe(`target: ${kind.name}`, () => {
    const spec = kind.make();
    const memory = new Memory(2 * MIB);
    const sector = openTarget(spec).sectorBytes;
    /** Content of a range, read back. */
    const content = (offset: number, length: number): Buffer => {
      const target = openTarget(spec);
      target.dropCaches();
      memory.bytes.fill(0x11, 0, length);
      target.read(memory.address, offset, length);
      target.close();
      return Buffer.from(memory.bytes.slice(0, length));
    };

    it('has its size', () => {
      const target = openTarget(spec);
      assert.equal(target.sizeBytes, kind.sizeBytes);
      assert.equal(kind.sizeBytes % target.sectorBytes, 0);
      target.close();
      target.close();
    });

    it('keeps what is written, up to the last sector', () => {
      const target = openTarget(spec);
      const last = kind.sizeBytes - sector;
      memory.bytes.fill(0x42, 0, 2 * MIB);
      target.write(memory.address, 0, MIB);
      target.write(memory.address + 4096, 2 * MIB + 4096, 4096);
      target.write(memory.address, last, sector);
      target.flush();
      target.close();
      const expected = kind.keeps ? 0x42 : 0;
      assert.ok(content(0, MIB).every((byte) => byte === expected));
      assert.ok(content(2 * MIB + 4096, 4096).every((byte) => byte === expected));
      assert.ok(content(last, sector).every((byte) => byte === expected));
      assert.ok(
        content(MIB, MIB).every((byte) => byte === (kind.keeps ? 0xdb : 0)),
        'and nothing beside it',
      );
    });

    it('reads as zeros where it was zeroed, and only there', () => {
      const target = openTarget(spec);
      target.zero(4096, 512 * 1024);
      target.zero(kind.sizeBytes - sector, sector);
      target.zero(MIB, 0);
      target.flush();
      target.close();
      assert.ok(content(4096, 512 * 1024).every((byte) => byte === 0));
      assert.ok(content(kind.sizeBytes - sector, sector).every((byte) => byte === 0));
      assert.ok(content(0, 4096).every((byte) => byte === (kind.keeps ? 0x42 : 0)));
      assert.ok(content(4096 + 512 * 1024, 4096).every((byte) => byte === (kind.keeps ? 0x42 : 0)));
    });

    if (kind.keeps)
      it('takes nothing beyond its end', () => {
        const target = openTarget(spec);
        assert.throws(() => target.write(memory.address, kind.sizeBytes, sector), { code: 'INTERNAL' });
        assert.throws(() => target.zero(kind.sizeBytes - sector, 2 * sector), { code: 'INTERNAL' });
        assert.throws(() => target.read(memory.address, kind.sizeBytes, sector), { code: 'INTERNAL' });
        target.close();
      });
  });
}

describe('a target that fails', () => {
  it('cannot be opened', () => {
    assert.throws(() => openTarget({ kind: 'device', path: join(folder, 'missing') }), {
      code: 'TARGET_WRITE_FAILED',
      message: /Opening target .*ENOENT/,
    });
  });

  it('says that the pool is full where the storage has no room left', (t) => {
    const mount = join(folder, 'full');
    mkdirSync(mount);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', mount]);
    const path = join(mount, 'replica');
    writeFileSync(path, '');
    truncateSync(path, 4 * MIB);
    const memory = new Memory(2 * MIB);
    memory.bytes.fill(0x42);
    const target = openTarget({ kind: 'device', path });
    // node:test runs these in the order in which they are named: the file is closed before its file system goes.
    t.after(() => target.close());
    t.after(() => execFileSync('umount', [mount]));
    assert.throws(() => target.write(memory.address, MIB, 2 * MIB), {
      code: 'POOL_FULL',
      message: /^Writing 2097152 bytes at 1048576 failed: the storage pool .* is full \(.*ENOSPC\)\)\.$/,
    });
    memory.free();
  });

  it('says what could not be written, and where', () => {
    // The storage under the device ends early: writing and reading there fail with EIO.
    const path = garbage('short', 2 * MIB);
    const device = attachLoop(path);
    ends.push(() => device.detach());
    const target = openTarget({ kind: 'device', path: device.path });
    truncateSync(path, MIB);
    const memory = new Memory(MIB);
    assert.throws(() => target.read(memory.address, MIB, 4096), {
      code: 'TARGET_WRITE_FAILED',
      message: /Reading back 4096 bytes at 1048576 failed: .*EIO/,
    });
    target.close();
    memory.free();
  });
});
