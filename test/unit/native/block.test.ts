import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { BlockDevice } from '../../../native/block.ts';
import { Memory } from '../../../native/memory.ts';

const folder = mkdtempSync(join(tmpdir(), 'rehost-block-'));
after(() => rmSync(folder, { recursive: true, force: true }));

describe('block device on a regular file', () => {
  const path = join(folder, 'disk');
  const memory = new Memory(1024 * 1024);

  it('writes and reads by address, with direct I/O', () => {
    writeFileSync(path, Buffer.alloc(1024 * 1024 + 512, 7));
    const device = BlockDevice.open(path, { write: true, direct: true });
    assert.equal(device.sizeBytes, 1024 * 1024 + 512);
    assert.equal(device.isBlockDevice, false);
    memory.bytes.fill(9, 0, 8192);
    device.pwriteFull(memory.address, 8192, 4096);
    device.flush();
    device.preadFull(memory.address, 512, 1024 * 1024);
    assert.equal(memory.bytes[0], 7);
    device.dropCaches();
    device.close();
    const content = readFileSync(path);
    assert.ok(content.subarray(4096, 12288).every((byte) => byte === 9));
    assert.ok(content.subarray(12288).every((byte) => byte === 7));
  });

  it('makes holes that read as zeros and keep the size', () => {
    const device = BlockDevice.open(path, { write: true, direct: true });
    const before = statSync(path).blocks;
    device.zeroRange(0, 512 * 1024);
    assert.ok(statSync(path).blocks < before, 'the space was given back');
    memory.bytes.fill(1, 0, 4096);
    device.preadFull(memory.address, 4096, 4096);
    assert.ok(memory.bytes.subarray(0, 4096).every((byte) => byte === 0));
    assert.throws(() => device.zeroRange(1024 * 1024, 4096), { code: 'EINVAL' });
    device.close();
    assert.equal(statSync(path).size, 1024 * 1024 + 512);
  });

  it('never takes a short read for a whole one', () => {
    const device = BlockDevice.open(path, { write: false, direct: false });
    truncateSync(path, 1024 * 1024);
    assert.throws(() => device.preadFull(memory.address, 8192, 1024 * 1024 - 4096), {
      name: 'SysError',
      code: 'EIO',
      message: /at 1048576 ended early/,
    });
    device.close();
  });

  it('opens a file of odd size without direct I/O, and says so', () => {
    writeFileSync(join(folder, 'odd'), Buffer.alloc(1000, 3));
    const device = BlockDevice.open(join(folder, 'odd'), { write: false, direct: true });
    assert.equal(device.direct, false);
    device.preadFull(memory.address, 1000, 0);
    assert.equal(memory.bytes[999], 3);
    device.close();
  });

  it('names errno, call and path', () => {
    const missing = join(folder, 'missing');
    assert.throws(() => BlockDevice.open(missing, { write: false, direct: true }), {
      name: 'SysError',
      code: 'ENOENT',
      errno: 2,
      syscall: 'open',
      path: missing,
    });
    const device = BlockDevice.open(path, { write: false, direct: false });
    assert.throws(() => device.pwriteFull(memory.address, 512, 0), { code: 'EBADF', syscall: 'pwrite' });
    assert.throws(() => device.punchHole(0, 4096), { code: 'EBADF' });
    device.close();
    assert.throws(() => device.preadFull(memory.address, 512, 0), { code: 'EBADF' });
  });
});
